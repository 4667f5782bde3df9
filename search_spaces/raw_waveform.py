"""The search space of Raw PC-DARTS (Ge et al. 2021, Section 3.2): eight 1-D primitives, cells of N = 7 nodes."""

from nas.space import CellTopology, Identity, Linear, Pool, SearchSpace, Zero, register

RAW_WAVEFORM = register(
    SearchSpace(
        name="raw_waveform",
        primitives=(
            Zero("none"),
            Pool("max_pool_3", kind="max", kernel=3),
            Pool("avg_pool_3", kind="average", kernel=3),
            Identity("skip_connect"),
            Linear("std_conv_3", kernel=3),
            Linear("std_conv_5", kernel=5),
            Linear("dil_conv_3", kernel=3, dilation=2, depthwise=True),
            Linear("dil_conv_5", kernel=5, dilation=2, depthwise=True),
        ),
        topology=CellTopology(inputs=2, intermediate=4, kept_inputs=2),
    )
)
