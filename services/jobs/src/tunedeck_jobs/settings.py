"""Settings of the jobs service."""

from pydantic import Field

from tunedeck_chassis.settings import ServiceSettings


class JobsSettings(ServiceSettings):
    """The protocol's times are settings, so that a test can shorten them."""

    jobs_database: str = Field(default="tunedeck_jobs", description="MongoDB database of the jobs.")
    lease_seconds: float = Field(
        default=30.0, gt=0, description="A trainer unheard of for this long loses its job."
    )
    beat_seconds: float = Field(default=5.0, gt=0, description="How often a trainer says that it lives.")
    lease_sweep_seconds: float = Field(
        default=5.0, gt=0, description="How often leases that ran out are looked for."
    )
    lost_rest_seconds: float = Field(
        default=30.0,
        ge=0,
        description="Rest of a job lost again without a newer checkpoint; none after the first loss.",
    )
    max_attempts: int = Field(default=3, ge=1, description="Claims of one job before a lost worker fails it.")
