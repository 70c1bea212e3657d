"""What MAEPose is compared with: three methods rebuilt on its own stem, from clip to places, with the same loss and width.

| method     | after the stem                                                                   | paper.md, "Experiments"     |
|------------|----------------------------------------------------------------------------------|-----------------------------|
| CubeLearn  | a bidirectional LSTM over the tokens' time steps, a perceptron of three layers   | stem -> LSTM -> MLP         |
| PoseFormer | MAEPose's video transformer from random weights, a perceptron                    | stem -> the same ViT -> MLP |
| HuPR       | one self-attention over all tokens, a perceptron                                 | stem -> attention -> MLP    |

The paper says no more than that of them; sizes come from the same `PoseConfig` as MAEPose's. `PoseConfig.head` chooses among
MAEPose's heads and says nothing here. All weights learn at one rate: no layer of a baseline has been trained before. Two
modalities hear each other in the stem, as in MAEPose.
"""

from jaxtyping import Float
from torch import Tensor, nn

from models.batch import PoseOutput
from models.config import ClipConfig, Method, PoseConfig
from models.encoder import ClipStem, Maps, VideoEncoder
from models.heads import FrameVector, MlpHead
from models.layers import EPSILON, Attention, initialise
from models.pose import PoseNetwork
from pipeline.errors import PipelineError
from pipeline.skeleton import JOINTS


class CubeLearn(PoseNetwork):
    """Zhao et al. 2023 as the paper adapts it: every time step's tokens become a vector, an LSTM reads these both ways."""

    def __init__(self, clip: ClipConfig, config: PoseConfig) -> None:
        super().__init__(clip, config)
        width, targets = config.width, len(clip.targets)
        self.stem = ClipStem(clip, config.encoder)
        steps = clip.frames // config.encoder.patch[0]
        if steps % targets:
            raise PipelineError(
                f"{targets} target frames do not share the {steps} time steps of a clip evenly; "
                "change the clip's `targets` or the encoder's `patch`."
            )
        self.step = FrameVector(self.stem.grids, config.encoder.dim, steps, config)
        self.lstm = nn.LSTM(width, width // 2, batch_first=True, bidirectional=True)
        self.mlp = nn.Sequential(
            nn.Linear(width // 2 * 2 * (steps // targets), width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Dropout(config.dropout),
        )
        self.out = _places(width)
        initialise(self.mlp)

    def forward(self, maps: Maps) -> PoseOutput:
        read, _ = self.lstm(self.step(self.stem.split(self.stem(maps))))
        shares: Float[Tensor, "batch target share"] = read.reshape(read.shape[0], len(self.clip.targets), -1)
        uv = 0.5 + self.out(self.mlp(shares)).unflatten(-1, (len(JOINTS), 2)).float()
        return PoseOutput(uv)


class PoseFormer(PoseNetwork):
    """Zheng et al. 2021 as the paper adapts it: the transformer that MAEPose has, which was never pre-trained."""

    def __init__(self, clip: ClipConfig, config: PoseConfig) -> None:
        super().__init__(clip, config)
        self.encoder = VideoEncoder(clip, config.encoder, config.drop_path)
        self.head = MlpHead(self.encoder.grids, config.encoder.dim, len(clip.targets), config)

    def forward(self, maps: Maps) -> PoseOutput:
        output: PoseOutput = self.head(self.encoder.stem.split(self.encoder(maps)))
        return output


class HuPR(PoseNetwork):
    """Lee et al. 2023 as the paper adapts it: attention among the stem's tokens, added to them."""

    def __init__(self, clip: ClipConfig, config: PoseConfig) -> None:
        super().__init__(clip, config)
        dim = config.encoder.dim
        self.stem = ClipStem(clip, config.encoder)
        self.norm = nn.LayerNorm(dim, EPSILON)
        self.attention = Attention(dim, config.encoder.heads)
        self.norm_after = nn.LayerNorm(dim, EPSILON)
        self.head = MlpHead(self.stem.grids, dim, len(clip.targets), config)
        initialise(self.attention)

    def forward(self, maps: Maps) -> PoseOutput:
        tokens = self.stem(maps)
        tokens = self.norm_after(tokens + self.attention(self.norm(tokens)))
        output: PoseOutput = self.head(self.stem.split(tokens))
        return output


BASELINES: dict[Method, type[CubeLearn | PoseFormer | HuPR]] = {
    "cubelearn": CubeLearn,
    "poseformer": PoseFormer,
    "hupr": HuPR,
}


def build_baseline(clip: ClipConfig, config: PoseConfig) -> PoseNetwork:
    """The baseline `config.method`, with random weights. Raises PipelineError for no baseline, and where sizes do not fit."""
    if config.method not in BASELINES:
        raise PipelineError(f"{config.method} is no baseline; the baselines are {', '.join(BASELINES)}.")
    return BASELINES[config.method](clip, config)


def _places(width: int) -> nn.Linear:
    """The last layer: nearly the same for every clip at first, as every head of MAEPose begins."""
    last = nn.Linear(width, 2 * len(JOINTS))
    nn.init.trunc_normal_(last.weight, std=0.02)
    nn.init.zeros_(last.bias)
    return last
