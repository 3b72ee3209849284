"""The generator: one encoder, the decoder groups AHD and AHE (paper Fig. 4a)."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from torch import Tensor, nn

from anomalyhybrid.errors import ConfigError, WeightsError
from anomalyhybrid.models.config import GeneratorConfig
from anomalyhybrid.models.decoder import DecoderGroup
from anomalyhybrid.models.encoder import Encoder
from anomalyhybrid.types import Conditions, Decoder, DecoderOutput


class Generator(nn.Module):
    """Redraws a scene: appearance from C_r, structure from C_d (by AHD) and from C_e (by AHE).

    With ``config.gives == "maps"`` it is AnomalyHybrid*: C_r is the target's colour, and C_d and C_e, a reference's
    maps, are redrawn for it, depth by AHD and edges by AHE (ADR-010).
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config, channels=5)
        channels = {name: config.content_channels(name) for name in config.decoders}
        self.decoders = nn.ModuleDict(
            {name: DecoderGroup(config, channels=part.stop - part.start) for name, part in channels.items()}
        )

    def forward(self, stacked: Tensor) -> dict[str, DecoderOutput]:
        """Run both decoder groups.

        Args:
            stacked: C_r, C_d, C_e as `Conditions.stacked` gives them, float (B, 5, H, W) in [-1, 1]; H and W
                multiples of `config.stride`.

        Returns:
            One `DecoderOutput` for each decoder group, by name.
        """
        features = self.encoder(stacked)
        return {
            name: self.decoders[name](features, stacked[:, self.config.content_channels(name)])
            for name in self.config.decoders
        }

    def redraw(self, conditions: Conditions, decoder: Decoder) -> DecoderOutput:
        """Run one decoder group only."""
        stacked = conditions.stacked()
        return self.decoders[decoder](self.encoder(stacked), stacked[:, self.config.content_channels(decoder)])


def save_generator(path: Path, model: Generator, metadata: dict[str, str], *, half: bool = True) -> None:
    """Write weights and configuration to one safetensors file, by a temporary name.

    Args:
        path: Where to.
        model: The network.
        metadata: Further string entries to keep (training command, licence, categories).
        half: Store as fp16, half the size.
    """
    from safetensors.torch import save_file

    state = {
        key: (value.half() if half else value.float()).contiguous().cpu() for key, value in model.state_dict().items()
    }
    entries = {**metadata, "generator": json.dumps(asdict(model.config))}
    temporary = path.with_name(path.name + ".tmp")
    try:
        save_file(state, temporary, metadata=entries)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_generator(path: Path) -> tuple[Generator, dict[str, str]]:
    """Read a generator that `save_generator` wrote.

    Returns:
        The network in evaluation mode on the CPU as float32, and the file's metadata.

    Raises:
        WeightsError: the file is missing, is no safetensors file, or is not a generator of this package.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise WeightsError(f"generator weights {path} do not exist; give a run folder or a .safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a readable safetensors file ({error}); train or copy it again") from error
    if "generator" not in metadata:
        raise WeightsError(f"{path} holds no generator of anomalyhybrid (no configuration in its metadata)")
    settings = metadata["generator"]
    try:
        values = json.loads(settings)
        model = Generator(GeneratorConfig(**{**values, "decoders": tuple(values["decoders"])}))
    except (TypeError, ValueError, KeyError, ConfigError) as error:
        raise WeightsError(
            f"{path} has a configuration that this version does not know ({settings}): {error}"
        ) from error
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{path} does not fit its own configuration {settings}: {error}") from error
    return model.eval(), metadata
