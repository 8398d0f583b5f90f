"""The table of requests: subject, messages, time limit, success status. One line each."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tunedeck_contracts import (
    checkpoints,
    datasets,
    estimates,
    generation,
    health,
    job_changes,
    job_lists,
    jobs,
    model_saving,
    models,
    plans,
    presets,
    previews,
    runs,
    telemetry,
    tokens,
    training,
    training_mode,
    workflow,
)
from tunedeck_contracts.message import Message
from tunedeck_contracts.subjects import request_subject

Req = TypeVar("Req", bound=Message)
Rep = TypeVar("Rep", bound=Message)

READ = 2.0
WRITE = 5.0
LONG_READ = 10.0
LONG_WRITE = 15.0
RESOLVE = 10.0
HUB_SEARCH = 10.0
FILE_CHECK = 60.0
BESIDE_TRAINING = 120.0
"""A trainer's answer by a process of its own, which starts with torch and may wait for its turn."""

_ASKING = {
    *("best", "check", "compare", "current", "estimate", "export", "get", "list", "locate"),
    *("recheck", "resolve", "rows", "search", "statistics", "tokens", "users"),
}
_ASKING_THE_HUB = {"resolve", "search"}


@dataclass(frozen=True)
class Rpc(Generic[Req, Rep]):
    """One request. `timeout` in seconds; `status` is the HTTP status of success; only `callers` may ask."""

    service: str
    noun: str
    verb: str
    request: type[Req]
    reply: type[Rep]
    timeout: float = READ
    status: int = 200
    callers: tuple[str, ...] = ("gateway",)

    @property
    def subject(self) -> str:
        """Where it goes; the queue group is the service's name."""
        return request_subject(self.service, self.noun, self.verb)

    @property
    def changes_nothing(self) -> bool:
        """Whether it can be sent twice, by its verb; a check of the same upload finds the same."""
        return self.verb in _ASKING

    @property
    def is_quick(self) -> bool:
        """Whether it changes nothing and is answered out of the database: soon, and at little cost twice."""
        return self.changes_nothing and self.timeout <= WRITE and self.verb not in _ASKING_THE_HUB


UPLOAD_CHECK = Rpc("catalog", "upload", "check", datasets.CheckUpload, datasets.CsvPreview, FILE_CHECK)
UPLOAD_RECHECK = Rpc(
    "catalog", "upload", "recheck", datasets.CheckStoredUpload, datasets.CsvPreview, FILE_CHECK
)
DATASET_CREATE = Rpc(
    "catalog", "dataset", "create", datasets.CreateDataset, datasets.Dataset, FILE_CHECK, 201
)
DATASET_LIST = Rpc("catalog", "dataset", "list", datasets.ListDatasets, datasets.DatasetList)
DATASET_GET = Rpc("catalog", "dataset", "get", datasets.GetDataset, datasets.Dataset)
DATASET_ROWS = Rpc("catalog", "dataset", "rows", datasets.GetRows, datasets.RowPage, WRITE)
DATASET_LOCATE = Rpc("catalog", "dataset", "locate", datasets.LocateFile, datasets.DatasetFile, FILE_CHECK)
DATASET_TOKENS = Rpc("catalog", "dataset", "tokens", datasets.CountTokens, tokens.TokenStatistics, FILE_CHECK)
DATASET_CHANGE = Rpc("catalog", "dataset", "change", datasets.ChangeDataset, datasets.Dataset, WRITE)
DATASET_DELETE = Rpc("catalog", "dataset", "delete", datasets.DeleteDataset, datasets.DatasetDeleted, RESOLVE)
DATASET_RESOLVE = Rpc(
    "catalog",
    "dataset",
    "resolve",
    datasets.ResolveDataset,
    datasets.ResolvedDataset,
    RESOLVE,
    callers=("jobs",),
)
MODEL_LIST = Rpc("catalog", "model", "list", models.ListModels, models.ModelCollection)
MODEL_SEARCH = Rpc("catalog", "model", "search", models.SearchModels, models.FoundModels, HUB_SEARCH)
MODEL_ADD = Rpc("catalog", "model", "add", models.AddModel, models.ModelAdded, HUB_SEARCH, 201)
MODEL_GET = Rpc("catalog", "model", "get", models.GetModel, models.Model)
MODEL_CHECK = Rpc("catalog", "model", "check", models.CheckModel, models.ModelCheck)
MODEL_REMOVE = Rpc("catalog", "model", "remove", models.RemoveModel, models.ModelRemoved, WRITE)
MODEL_RESOLVE = Rpc(
    "catalog", "model", "resolve", models.ResolveModel, models.ResolvedModel, RESOLVE, callers=("jobs",)
)

HYPERPARAMETERS_LIST = Rpc("catalog", "hyperparameters", "list", presets.ListPresets, presets.PresetList)
HYPERPARAMETERS_SAVE = Rpc(
    "catalog", "hyperparameters", "save", presets.SavePreset, presets.Preset, WRITE, 201
)
HYPERPARAMETERS_GET = Rpc("catalog", "hyperparameters", "get", presets.GetHyperparameters, presets.Preset)
METADATA_GET = Rpc("catalog", "metadata", "get", workflow.GetMetadata, workflow.Metadata)
METADATA_MERGE = Rpc("catalog", "metadata", "merge", workflow.MergeMetadata, workflow.Metadata, 2 * RESOLVE)
JOB_CONFIGURATION_GET = Rpc(
    "catalog",
    "job_configuration",
    "get",
    workflow.GetJobConfiguration,
    workflow.JobConfiguration,
    2 * RESOLVE,
)

JOB_CREATE = Rpc("jobs", "job", "create", jobs.SubmitJob, jobs.JobCreated, 2 * RESOLVE, 201)
JOB_GET = Rpc("jobs", "job", "get", jobs.GetJob, jobs.Job, callers=("gateway", "telemetry"))
JOB_LIST = Rpc("jobs", "job", "list", job_lists.ListJobs, job_lists.JobList, LONG_READ)
JOB_EXPORT = Rpc("jobs", "job", "export", job_lists.ExportJobs, job_lists.JobsExport, LONG_READ)
JOB_STATISTICS = Rpc("jobs", "job", "statistics", job_lists.GetJobStatistics, job_lists.JobStatistics)
JOB_COMPARE = Rpc("jobs", "job", "compare", job_lists.CompareJobs, job_lists.JobComparison)
JOB_START = Rpc("jobs", "job", "start", job_changes.StartJob, jobs.Job, 2 * RESOLVE)
JOB_DELETE = Rpc("jobs", "job", "delete", job_changes.DeleteJob, job_changes.JobDeleted, LONG_WRITE)
JOB_CANCEL = Rpc("jobs", "job", "cancel", job_changes.CancelJob, jobs.Job, WRITE)
JOB_PAUSE = Rpc("jobs", "job", "pause", job_changes.PauseJob, jobs.Job, WRITE)
JOB_RESUME = Rpc("jobs", "job", "resume", job_changes.ResumeJob, jobs.Job, WRITE)
JOB_RETRY = Rpc("jobs", "job", "retry", job_changes.RetryJob, jobs.JobCreated, 2 * RESOLVE, 201)
JOB_CHANGE = Rpc("jobs", "job", "change", job_changes.ChangeJob, jobs.Job, WRITE)
JOB_EVENT_LIST = Rpc("jobs", "event", "list", job_changes.ListJobEvents, job_changes.JobEventList)
JOB_CLAIM = Rpc("jobs", "job", "claim", runs.Claim, runs.Claimed, WRITE, callers=("trainer",))
JOB_BEAT = Rpc("jobs", "job", "beat", runs.Beat, runs.BeatReply, WRITE, callers=("trainer",))
JOB_REPORT = Rpc("jobs", "job", "report", runs.Report, runs.Reported, WRITE, callers=("trainer",))
JOB_CHECKPOINT_REGISTER = Rpc(
    "jobs",
    "checkpoint",
    "register",
    checkpoints.RegisterCheckpoint,
    checkpoints.CheckpointRegistered,
    WRITE,
    callers=("trainer",),
)
PLAN_RESOLVE = Rpc(
    "jobs", "plan", "resolve", plans.EstimateJob, plans.Plan, 2 * RESOLVE, callers=("trainer",)
)
PLAN_GET = Rpc("jobs", "plan", "get", plans.GetPlan, plans.Plan, 2 * RESOLVE, callers=("trainer",))
CHECKPOINT_LIST = Rpc("jobs", "checkpoint", "list", checkpoints.ListCheckpoints, checkpoints.CheckpointList)
JOBS_USING_DATASET = Rpc(
    "jobs", "dataset", "users", job_lists.FindJobsUsing, job_lists.JobsUsing, callers=("catalog",)
)
HYPERPARAMETERS_BEST = Rpc(
    "jobs", "hyperparameters", "best", job_lists.GetBestHyperparameters, job_lists.BestHyperparameters
)
MODE_GET = Rpc("jobs", "mode", "get", training_mode.GetMode, training_mode.Mode, callers=("telemetry",))
MODE_SET = Rpc("jobs", "mode", "set", training_mode.SetMode, training_mode.ModeSet, WRITE)
JOB_PUSH = Rpc("jobs", "job", "push", model_saving.PushModel, jobs.Job, WRITE)
PUSH_CLAIM = Rpc(
    "jobs", "push", "claim", model_saving.ClaimPush, model_saving.PushClaimed, WRITE, callers=("trainer",)
)
PUSH_REPORT = Rpc(
    "jobs", "push", "report", model_saving.ReportPush, model_saving.PushReported, WRITE, callers=("trainer",)
)
ARTIFACT_LOCATE = Rpc("jobs", "artifact", "locate", model_saving.GetArtifact, model_saving.ArtifactLocation)

JOB_ESTIMATE = Rpc("trainer", "job", "estimate", plans.EstimateJob, estimates.Estimate, BESIDE_TRAINING)
PREVIEW_GET = Rpc("trainer", "preview", "get", previews.GetPreview, previews.JobPreview, BESIDE_TRAINING)

TEXT_GENERATE = Rpc(
    "trainer",
    "text",
    "generate",
    generation.StartGeneration,
    generation.GenerationStarted,
    2 * RESOLVE + WRITE,
)

LOSS_LIST = Rpc("telemetry", "loss", "list", telemetry.ListLosses, telemetry.LossList)
LOSS_CURRENT = Rpc("telemetry", "loss", "current", telemetry.GetCurrentLoss, training.LossPoint)
RESOURCE_LIST = Rpc("telemetry", "resource", "list", telemetry.ListResources, telemetry.ResourceList)
RESOURCE_CURRENT = Rpc(
    "telemetry", "resource", "current", telemetry.GetCurrentResources, training.ResourceSample
)
STATUS_GET = Rpc("telemetry", "status", "get", telemetry.GetTrainingStatus, telemetry.TrainingStatus)
SUMMARY_GET = Rpc("telemetry", "summary", "get", telemetry.GetTrainingSummary, telemetry.TrainingSummary)
HISTORY_GET = Rpc("telemetry", "history", "get", telemetry.GetHistory, telemetry.History)
STORED_GET = Rpc("telemetry", "stored", "get", telemetry.GetStored, telemetry.Stored, callers=("trainer",))
JOB_FORGET = Rpc(
    "telemetry", "job", "forget", telemetry.ForgetJob, telemetry.Forgotten, WRITE, callers=("jobs",)
)
TRAINING_MODE_GET = Rpc(
    "telemetry", "mode", "get", training_mode.GetTrainingMode, training_mode.TrainingModeShown
)
LOG_LIST = Rpc("telemetry", "log", "list", telemetry.ListLogs, telemetry.LogList)


def health_check(service: str) -> Rpc[health.CheckHealth, health.Health]:
    """Every service answers this one."""
    return Rpc(service, "health", "check", health.CheckHealth, health.Health)


REQUESTS: dict[str, Rpc[Any, Any]] = {
    name: one for name, one in list(globals().items()) if isinstance(one, Rpc)
}
"""Every request of this table by its name; the health checks are not among them."""
