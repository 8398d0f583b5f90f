"""Where a queued job stands, and when it is likely to start."""

from datetime import timedelta

from tunedeck_contracts.jobs import Device
from tunedeck_contracts.message import utc_now
from tunedeck_jobs.forecast import Line, Trainer, Waiting, kinds, standings

NOW = utc_now()
CPU, GPU = frozenset({Device.CPU}), frozenset({Device.GPU})


def starts(line: Line) -> list[float | None]:
    found = standings(line, NOW)
    return [
        (one.expected_start - NOW).total_seconds() if one.expected_start else None
        for one in (found[job.uid] for job in line.waiting)
    ]


def waiting(*devices: Device | None) -> list[Waiting]:
    return [Waiting(f"job_{n}", device) for n, device in enumerate(devices)]


def test_positions_count_from_one_in_the_order_of_the_queue() -> None:
    found = standings(Line(waiting(None, None, None), [], None), NOW)
    assert [found[f"job_{n}"].position for n in range(3)] == [1, 2, 3]


def test_without_a_trainer_nobody_knows_when() -> None:
    assert starts(Line(waiting(None), [], 60.0)) == [None]


def test_a_free_trainer_takes_the_first_now_and_each_next_one_after_a_typical_job() -> None:
    assert starts(Line(waiting(None, None, None), [Trainer(CPU, 0.0)], 60.0)) == [0.0, 60.0, 120.0]


def test_two_trainers_take_turns() -> None:
    line = Line(waiting(None, None, None), [Trainer(CPU, 0.0), Trainer(CPU, 10.0)], 60.0)
    assert starts(line) == [0.0, 10.0, 60.0]


def test_without_a_finished_job_only_the_first_of_each_trainer_is_foretold() -> None:
    assert starts(Line(waiting(None, None), [Trainer(CPU, 5.0)], None)) == [5.0, None]


def test_a_run_that_has_told_no_step_foretells_nothing() -> None:
    assert starts(Line(waiting(None), [Trainer(CPU, None)], 60.0)) == [None]


def test_a_job_waits_for_a_trainer_that_has_its_device() -> None:
    line = Line(waiting(Device.GPU, None), [Trainer(CPU, 0.0), Trainer(GPU, 30.0)], 60.0)
    assert starts(line) == [30.0, 0.0]


def test_a_gpu_that_no_trainer_has_is_a_problem_that_says_so() -> None:
    found = standings(Line(waiting(Device.GPU, None), [Trainer(CPU, 0.0)], None), NOW)
    assert found["job_0"].problem == "No trainer that is there has a GPU; the job waits for one."
    assert found["job_1"].problem is None and found["job_1"].expected_start == NOW + timedelta(0)


def test_a_device_is_the_cpu_or_a_gpu() -> None:
    assert kinds(["cpu"]) == CPU and kinds(["cuda:0", "cuda:1"]) == GPU and kinds(["cpu", "mps"]) == CPU | GPU
