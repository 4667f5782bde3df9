"""A space small enough to train every genotype of it: 2 intermediate nodes of one input each, 4 primitives, 96 cells.

The network of experiments/tuning/tiny.yaml stacks two cells, both of which are expand cells, so that one kind varies.
"""

from nas.space import CellTopology, Identity, Linear, Pool, SearchSpace, register

TINY = register(
    SearchSpace(
        name="tiny",
        primitives=(
            Pool("max_pool_3", kind="max", kernel=3),
            Identity("skip_connect"),
            Linear("std_conv_3", kernel=3),
            Linear("dil_conv_3", kernel=3, dilation=2, depthwise=True),
        ),
        topology=CellTopology(inputs=2, intermediate=2, kept_inputs=1),
    )
)
