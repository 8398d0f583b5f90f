"""Where on a job's curve a client is.

A curve has every iteration once, of the run that owns it: a run owns the iterations after the step that it
went on from. Before the first that it owns comes the same iteration of an older run.
"""

from tunedeck_contracts.telemetry import iteration_of, sequence


class CurvePlace:
    """`seq` is of the last point that the client has; 0 for none."""

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self._resume_steps: dict[int, int] = {}

    def begins(self, fence: int, resume_step: int) -> None:
        """A run of this fence goes on from this step."""
        self._resume_steps[fence] = resume_step

    @property
    def last_run(self) -> int:
        """The highest fence under which a run is known to have begun; 0 for none."""
        return max(self._resume_steps, default=0)

    def knows(self, fence: int) -> bool:
        """Whether it is known what this run owns."""
        return fence in self._resume_steps

    def has(self, fence: int, iteration: int) -> bool:
        """Whether the client has this point already, or will never need it: the run tells it again."""
        return sequence(fence, iteration) <= self.seq or iteration <= self._resume_steps.get(fence, 0)

    def has_reached(self, fence: int, iteration: int) -> bool:
        """Whether the client has all up to this iteration of a curve whose last run is `fence`."""
        resume_step = self._resume_steps.get(fence)
        is_older = self.seq < sequence(fence, 0)
        if iteration <= (resume_step or 0) or (resume_step is None and is_older):
            # It belongs to an older run.
            return not is_older or iteration_of(self.seq) >= iteration
        return self.seq >= sequence(fence, iteration)
