"""What the catalog service answers: decode, call, encode."""

from typing import Annotated

from faststream import Context

from tunedeck_catalog.dataset_files import DatasetFiles
from tunedeck_catalog.datasets import Datasets
from tunedeck_catalog.models import Models
from tunedeck_catalog.presets import Presets
from tunedeck_catalog.uploads import Uploads
from tunedeck_catalog.workflow import Workflow
from tunedeck_chassis.broker import request_handler
from tunedeck_chassis.requests import Router
from tunedeck_contracts import rpc
from tunedeck_contracts.datasets import (
    ChangeDataset,
    CheckStoredUpload,
    CheckUpload,
    CountTokens,
    CreateDataset,
    CsvPreview,
    Dataset,
    DatasetDeleted,
    DatasetFile,
    DatasetList,
    DeleteDataset,
    GetDataset,
    GetRows,
    ListDatasets,
    LocateFile,
    ResolveDataset,
    ResolvedDataset,
    RowPage,
)
from tunedeck_contracts.models import (
    AddModel,
    CheckModel,
    FoundModels,
    GetModel,
    ListModels,
    Model,
    ModelAdded,
    ModelCheck,
    ModelCollection,
    ModelRemoved,
    RemoveModel,
    ResolvedModel,
    ResolveModel,
    SearchModels,
)
from tunedeck_contracts.presets import GetHyperparameters, ListPresets, Preset, PresetList, SavePreset
from tunedeck_contracts.tokens import TokenStatistics
from tunedeck_contracts.workflow import (
    GetJobConfiguration,
    GetMetadata,
    JobConfiguration,
    MergeMetadata,
    Metadata,
)

router = Router()

UploadsContext = Annotated[Uploads, Context("uploads")]
DatasetsContext = Annotated[Datasets, Context("datasets")]
DatasetFilesContext = Annotated[DatasetFiles, Context("dataset_files")]
ModelsContext = Annotated[Models, Context("models")]
PresetsContext = Annotated[Presets, Context("presets")]
WorkflowContext = Annotated[Workflow, Context("workflow")]


@request_handler(router, rpc.UPLOAD_CHECK)
async def check_upload(message: CheckUpload, uploads: UploadsContext) -> CsvPreview:
    """`POST /api/preview-csv`, once the gateway has the file in the blob store."""
    return await uploads.check(message)


@request_handler(router, rpc.UPLOAD_RECHECK)
async def recheck_upload(message: CheckStoredUpload, uploads: UploadsContext) -> CsvPreview:
    """The same file with its columns mapped."""
    return await uploads.recheck(message)


@request_handler(router, rpc.DATASET_CREATE)
async def create_dataset(message: CreateDataset, datasets: DatasetsContext) -> Dataset:
    """`POST /api/datasets`."""
    return await datasets.create(message)


@request_handler(router, rpc.DATASET_LIST)
async def list_datasets(message: ListDatasets, datasets: DatasetsContext) -> DatasetList:
    """`GET /api/datasets`."""
    return await datasets.list()


@request_handler(router, rpc.DATASET_GET)
async def get_dataset(message: GetDataset, datasets: DatasetsContext) -> Dataset:
    """`GET /api/datasets/{uid}`."""
    return (await datasets.get(message.dataset)).dataset


@request_handler(router, rpc.DATASET_CHANGE)
async def change_dataset(message: ChangeDataset, datasets: DatasetsContext) -> Dataset:
    """`PATCH /api/datasets/{uid}`."""
    return await datasets.change(message)


@request_handler(router, rpc.DATASET_ROWS)
async def list_rows(message: GetRows, files: DatasetFilesContext) -> RowPage:
    """`GET /api/datasets/{uid}/rows`."""
    return await files.rows(message)


@request_handler(router, rpc.DATASET_LOCATE)
async def locate_dataset_file(message: LocateFile, files: DatasetFilesContext) -> DatasetFile:
    """`GET /api/datasets/{uid}/download`: the gateway streams the blob."""
    return await files.locate(message)


@request_handler(router, rpc.DATASET_TOKENS)
async def count_tokens(message: CountTokens, files: DatasetFilesContext) -> TokenStatistics:
    """`GET /api/datasets/{uid}/tokens`."""
    return await files.count_tokens(message)


@request_handler(router, rpc.DATASET_DELETE)
async def delete_dataset(message: DeleteDataset, files: DatasetFilesContext) -> DatasetDeleted:
    """`DELETE /api/datasets/{uid}`."""
    return await files.delete(message.dataset)


@request_handler(router, rpc.DATASET_RESOLVE)
async def resolve_dataset(message: ResolveDataset, datasets: DatasetsContext) -> ResolvedDataset:
    """What the jobs service pins."""
    return await datasets.resolve(message.reference)


@request_handler(router, rpc.MODEL_LIST)
async def list_models(message: ListModels, models: ModelsContext) -> ModelCollection:
    """`GET /api/models`."""
    return await models.list()


@request_handler(router, rpc.MODEL_SEARCH)
async def search_models(message: SearchModels, models: ModelsContext) -> FoundModels:
    """`GET /api/models/search`."""
    return await models.search(message.query, message.limit)


@request_handler(router, rpc.MODEL_ADD)
async def add_model(message: AddModel, models: ModelsContext) -> ModelAdded:
    """`POST /api/models`."""
    return await models.add(message)


@request_handler(router, rpc.MODEL_GET)
async def get_model(message: GetModel, models: ModelsContext) -> Model:
    """`GET /api/models/{model_id}`."""
    return await models.get(message.id)


@request_handler(router, rpc.MODEL_CHECK)
async def check_model(message: CheckModel, models: ModelsContext) -> ModelCheck:
    """`GET /api/models/check/{model_id}`."""
    return await models.check(message.id)


@request_handler(router, rpc.MODEL_REMOVE)
async def remove_model(message: RemoveModel, models: ModelsContext) -> ModelRemoved:
    """`DELETE /api/models/{model_id}`."""
    return await models.remove(message.id)


@request_handler(router, rpc.MODEL_RESOLVE)
async def resolve_model(message: ResolveModel, models: ModelsContext) -> ResolvedModel:
    """What the jobs service pins."""
    return await models.resolve(message.id, message.revision)


@request_handler(router, rpc.HYPERPARAMETERS_LIST)
async def list_presets(message: ListPresets, presets: PresetsContext) -> PresetList:
    """`GET /api/hyperparameters`."""
    return await presets.list()


@request_handler(router, rpc.HYPERPARAMETERS_SAVE)
async def save_preset(message: SavePreset, presets: PresetsContext) -> Preset:
    """`POST /api/hyperparameters`."""
    return await presets.save(message)


@request_handler(router, rpc.HYPERPARAMETERS_GET)
async def get_hyperparameters(message: GetHyperparameters, presets: PresetsContext) -> Preset:
    """`GET /api/hyperparameters/{uid}`."""
    return await presets.get(message.uid)


@request_handler(router, rpc.METADATA_GET)
async def get_metadata(message: GetMetadata, workflow: WorkflowContext) -> Metadata:
    """`GET /api/metadata`."""
    return await workflow.metadata()


@request_handler(router, rpc.METADATA_MERGE)
async def merge_metadata(message: MergeMetadata, workflow: WorkflowContext) -> Metadata:
    """`POST /api/metadata`."""
    return await workflow.merge(message)


@request_handler(router, rpc.JOB_CONFIGURATION_GET)
async def get_job_configuration(message: GetJobConfiguration, workflow: WorkflowContext) -> JobConfiguration:
    """`GET /api/job-configuration`."""
    return await workflow.configuration()
