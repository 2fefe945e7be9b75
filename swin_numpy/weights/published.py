"""Where the published weights of each preset are on the Hugging Face hub, and what was measured of them.

Repositories: timm's uploads of Microsoft's own weights; each holds model.safetensors and config.json. A preset with
1000 classes names the weights for ImageNet-1k, the two with 21,841 those for ImageNet-22k.
Source of numbers: github.com/huggingface/pytorch-image-models, results/results-imagenet.csv at commit 0173a13. For the
two of ImageNet-22k, which are not in it: the size of Microsoft's own upload (437 and 915 MB), 4 bytes a parameter.
"""

from typing import NamedTuple


class Published(NamedTuple):
    """repo: owner/name on the hub. parameters: in millions. top1: % right of ImageNet-1k's validation pictures."""

    repo: str
    parameters: float
    top1: float | None
    licence: str = "MIT"


PUBLISHED = {
    "swin_tiny_patch4_window7_224": Published("timm/swin_tiny_patch4_window7_224.ms_in1k", 28.29, 81.376),
    "swin_small_patch4_window7_224": Published("timm/swin_small_patch4_window7_224.ms_in1k", 49.61, 83.208),
    "swin_base_patch4_window7_224": Published("timm/swin_base_patch4_window7_224.ms_in1k", 87.77, 83.606),
    "swin_base_patch4_window12_384": Published("timm/swin_base_patch4_window12_384.ms_in1k", 87.90, 84.476),
    # L was trained on ImageNet-22k and then tuned on 1k
    "swin_large_patch4_window7_224": Published("timm/swin_large_patch4_window7_224.ms_in22k_ft_in1k", 196.53, 86.312),
    "swin_large_patch4_window12_384": Published("timm/swin_large_patch4_window12_384.ms_in22k_ft_in1k", 196.74, 87.132),
    "swin_s3_tiny_224": Published("timm/swin_s3_tiny_224.ms_in1k", 28.33, 82.144),
    "swin_s3_small_224": Published("timm/swin_s3_small_224.ms_in1k", 49.74, 83.756),
    "swin_s3_base_224": Published("timm/swin_s3_base_224.ms_in1k", 71.13, 83.920),
    "swinv2_tiny_patch4_window8_256": Published("timm/swinv2_tiny_window8_256.ms_in1k", 28.35, 81.820),
    "swinv2_tiny_patch4_window16_256": Published("timm/swinv2_tiny_window16_256.ms_in1k", 28.35, 82.804),
    "swinv2_small_patch4_window8_256": Published("timm/swinv2_small_window8_256.ms_in1k", 49.73, 83.854),
    "swinv2_small_patch4_window16_256": Published("timm/swinv2_small_window16_256.ms_in1k", 49.73, 84.224),
    "swinv2_base_patch4_window8_256": Published("timm/swinv2_base_window8_256.ms_in1k", 87.92, 84.250),
    "swinv2_base_patch4_window16_256": Published("timm/swinv2_base_window16_256.ms_in1k", 87.92, 84.600),
    "swinv2_base_patch4_window12_192": Published("timm/swinv2_base_window12_192.ms_in22k", 109.3, None),
    "swinv2_base_patch4_window12to16_192to256": Published(
        "timm/swinv2_base_window12to16_192to256.ms_in22k_ft_in1k", 87.92, 86.268
    ),
    "swinv2_base_patch4_window12to24_192to384": Published(
        "timm/swinv2_base_window12to24_192to384.ms_in22k_ft_in1k", 87.92, 87.096
    ),
    "swinv2_large_patch4_window12_192": Published("timm/swinv2_large_window12_192.ms_in22k", 228.8, None),
    "swinv2_large_patch4_window12to16_192to256": Published(
        "timm/swinv2_large_window12to16_192to256.ms_in22k_ft_in1k", 196.74, 86.952
    ),
    "swinv2_large_patch4_window12to24_192to384": Published(
        "timm/swinv2_large_window12to24_192to384.ms_in22k_ft_in1k", 196.74, 87.464
    ),
}
