"""Networks small enough to be made on the spot, saved as their libraries save them: for tests of the labellers."""

from pathlib import Path

from pipeline.torchvision_cpu import import_torchvision


def save_bright_spot_vitpose(folder: Path, *, experts: int = 1, joints: int = 17) -> Path:
    """A ViTPose whose every heatmap is how bright the picture is there: the keypoints are where a bright spot is.

    Channel 0 of a token is its patch's brightness, channel 1 is large and steady, so that layer norms only scale them;
    attention and feed-forward parts add nothing.
    """
    import_torchvision()
    import torch
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation, VitPoseImageProcessor

    backbone = VitPoseBackboneConfig(
        image_size=[128, 96], patch_size=[8, 8], hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2,
        num_experts=experts, part_features=8 if experts > 1 else 0, out_features=["stage2"],
    )  # fmt: skip
    torch.manual_seed(0)
    network = VitPoseForPoseEstimation(
        VitPoseConfig(
            backbone_config=backbone,
            num_labels=joints,
            use_simple_decoder=True,
            id2label={i: str(i) for i in range(joints)},
        )
    )
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if "norm" not in name:
                tensor.zero_()
        embedding = network.backbone.embeddings.patch_embeddings.projection
        embedding.weight[0] = 1.0 / embedding.weight[0].numel()
        embedding.bias[0], embedding.bias[1] = 3.0, 30.0
        network.head.conv.weight[:, 0, 1, 1] = 1.0
    network.save_pretrained(folder)
    VitPoseImageProcessor(size={"height": 128, "width": 96}).save_pretrained(folder)
    return folder


def save_detector(folder: Path, classes: tuple[str, ...] = ("chair", "person")) -> Path:
    """An RT-DETR that sees somebody, of random place and size, in every one of its ten queries."""
    import_torchvision()
    import torch
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrImageProcessor, RTDetrResNetConfig

    backbone = RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 16, 16], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    torch.manual_seed(3)
    network = RTDetrForObjectDetection(
        RTDetrConfig(
            backbone_config=backbone, encoder_hidden_dim=16, encoder_in_channels=[16, 16, 16], encoder_ffn_dim=16,
            encoder_attention_heads=2,
            d_model=16, decoder_in_channels=[16, 16, 16], decoder_ffn_dim=16, decoder_attention_heads=2, decoder_layers=1,
            num_queries=10, num_denoising=0, id2label=dict(enumerate(classes)), label2id={n: i for i, n in enumerate(classes)},
        )
    )  # fmt: skip
    with torch.no_grad():
        for head in network.model.decoder.class_embed:
            head.bias[-1] = 4.0
    network.save_pretrained(folder)
    RTDetrImageProcessor(size={"height": 96, "width": 128}).save_pretrained(folder)
    return folder


def save_yolo_pose(folder: Path, *, joints: int = 17) -> Path:
    """A YOLO pose network of random weights: it sees people everywhere, none of them surely."""
    from processing.labelling.yolo_library import import_ultralytics

    ultralytics = import_ultralytics()
    import torch

    torch.manual_seed(5)
    from ultralytics.nn.tasks import PoseModel

    network = ultralytics.YOLO("yolov8n-pose.yaml", task="pose")
    if joints != 17:
        network.model = PoseModel("yolov8n-pose.yaml", nc=1, data_kpt_shape=(joints, 3), verbose=False)
    path = folder / "random-pose.pt"
    network.save(str(path))
    return path
