"""What a client may change of a job."""

import pytest
from pydantic import ValidationError

from tunedeck_contracts.job_changes import JobChanges, RetryOptions


@pytest.mark.parametrize("value", [True, False, "1", 1.5])
def test_a_whole_number_is_asked_for(value: object) -> None:
    for message, field in ((JobChanges, "priority"), (RetryOptions, "from_checkpoint")):
        with pytest.raises(ValidationError, match="valid integer"):
            message.model_validate({field: value})
