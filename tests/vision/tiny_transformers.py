"""The smallest models of transformers that are one: what `model.arguments` says of each."""

RESNET = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 16, 32, 64], "depths": [1, 1, 1, 1]}
RT_DETR_RESNET = {**RESNET, "model_type": "rt_detr_resnet", "layer_type": "basic"}
HGNET = {
    "model_type": "hgnet_v2",
    "embedding_size": 8,
    "stem_channels": [3, 8, 8],
    "stage_in_channels": [8, 16, 32, 64],
    "stage_mid_channels": [8, 8, 16, 16],
    "stage_out_channels": [16, 32, 64, 64],
    "stage_num_blocks": [1, 1, 1, 1],
    "stage_numb_of_layers": [1, 1, 1, 1],
    "hidden_sizes": [16, 32, 64, 64],
    "depths": [1, 1, 1, 1],
}
LAST_THREE = {"out_features": ["stage2", "stage3", "stage4"]}
DETR = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "num_queries": 20,
    "backbone_config": {**RESNET, "layer_type": "basic", "out_features": ["stage4"]},
}
RT_DETR = {
    **DETR,
    "encoder_hidden_dim": 32,
    "encoder_in_channels": [16, 32, 64],
    "decoder_in_channels": [32, 32, 32],
    "num_denoising": 10,
    "anchor_image_size": [64, 64],
    "backbone_config": {**RT_DETR_RESNET, **LAST_THREE},
}
YOLOS = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "image_size": [64, 64],
    "num_detection_tokens": 20,
}
DETECTORS = {
    "rt_detr_v2": RT_DETR,
    "d_fine": {**RT_DETR, "encoder_in_channels": [32, 64, 64], "backbone_config": {**HGNET, **LAST_THREE}},
    "detr": DETR,
    "table-transformer": DETR,
    "conditional_detr": DETR,
    "deformable_detr": {**DETR, "backbone_config": {**DETR["backbone_config"], **LAST_THREE}},
    "yolos": YOLOS,
}
