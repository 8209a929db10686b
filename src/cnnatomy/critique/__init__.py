"""The critique: what a good designer would object to, with the evidence computed from the graph, never from a name."""

from collections.abc import Collection, Sequence

from cnnatomy.analysis import Account, account
from cnnatomy.critique.budget import balance, over_latency, over_memory, single_peak
from cnnatomy.critique.causes import flat, judged
from cnnatomy.critique.cost import unequal_branches, vectorised_head
from cnnatomy.critique.dead_weight import dropped_channels, unread_output
from cnnatomy.critique.dilation import gridding
from cnnatomy.critique.down_sampling import lossy_down_sampling
from cnnatomy.critique.dropout import dropout_before_batch_norm, high_dropout_rate, vector_head_without_dropout
from cnnatomy.critique.enlargement import enlarged_at_once
from cnnatomy.critique.fixing import Fixed, FixStep, applicable, fix
from cnnatomy.critique.inference import auxiliary_heads, softmax_before_loss, unfolded_batch_norm
from cnnatomy.critique.information import down_samplings, few_features, last_map_size, output_without_pixels
from cnnatomy.critique.kernels import large_kernel, large_stem_kernel
from cnnatomy.critique.linear import no_nonlinearity
from cnnatomy.critique.logits import bent_logits
from cnnatomy.critique.machine import (
    depthwise_reuse,
    groups_never_mix,
    narrow_groups,
    uneven_channels,
    weights_read_once,
)
from cnnatomy.critique.merging import linear_pair
from cnnatomy.critique.mixing import depthwise_after_depthwise, pointwise_run
from cnnatomy.critique.normalisation import bias_before_batch_norm, no_normalisation, response_normalisation
from cnnatomy.critique.ranges import idle_nonlinearity, rectified_bottleneck, unlike_ranges
from cnnatomy.critique.redundant import norm_after_norm, pool_after_pool
from cnnatomy.critique.rule import SEVERITIES, Case, Finding, Rule
from cnnatomy.critique.saturation import saturating_body
from cnnatomy.critique.shortcuts import no_shortcuts
from cnnatomy.critique.sight import small_receptive_field, unproductive_layers
from cnnatomy.critique.sizes import undivided_sizes
from cnnatomy.critique.study import Purpose, Study
from cnnatomy.critique.tails import tail
from cnnatomy.critique.trunk import batch_norm_after_addition, relu_before_addition
from cnnatomy.critique.waists import narrow_waist
from cnnatomy.critique.widths import flat_width, shrinking_width
from cnnatomy.critique.wiring import stride_skips_pixels, uneven_transposed_convolution
from cnnatomy.design import Design, Graph
from cnnatomy.edits.change import Remedy

RULES: tuple[Rule, ...] = (
    *(few_features, last_map_size, down_samplings, lossy_down_sampling, narrow_waist),
    *(output_without_pixels, flat_width, shrinking_width),
    *(small_receptive_field, unproductive_layers, undivided_sizes, gridding, enlarged_at_once),
    *(no_normalisation, bias_before_batch_norm, unlike_ranges, response_normalisation, rectified_bottleneck),
    *(dropout_before_batch_norm, vector_head_without_dropout, relu_before_addition, saturating_body, bent_logits),
    *(batch_norm_after_addition, high_dropout_rate),
    *(stride_skips_pixels, uneven_transposed_convolution, unread_output, dropped_channels, linear_pair),
    *(idle_nonlinearity, softmax_before_loss, auxiliary_heads, unfolded_batch_norm, no_nonlinearity),
    *(depthwise_after_depthwise, pool_after_pool, norm_after_norm, pointwise_run, no_shortcuts),
    *(vectorised_head, large_kernel, weights_read_once, depthwise_reuse, groups_never_mix),
    *(tail, unequal_branches, uneven_channels, narrow_groups, large_stem_kernel),
    *(balance, single_peak, over_memory, over_latency),
)
"""Every rule, by subject."""


def critique(
    design: Design | Graph | Account,
    purpose: Purpose = Purpose(),
    rules: Sequence[Rule] = RULES,
    pedantic: Collection[Rule] = (),
) -> list[Finding]:
    """What the rules find in a design: one finding for each cause with its consequences, the worst first.

    What seldom matters is said only of the rules in `pedantic`.

    >>> from cnnatomy.catalogue import network
    >>> [finding.rule.name for finding in critique(network("alexnet"))][:1]
    """
    graph = design.graph() if isinstance(design, Design) else design
    return judged(Study(account(graph) if isinstance(graph, Graph) else graph, purpose), rules, pedantic)


__all__ = [
    "RULES",
    "SEVERITIES",
    "Case",
    "Finding",
    "FixStep",
    "Fixed",
    "Purpose",
    "Remedy",
    "Rule",
    "Study",
    "applicable",
    "critique",
    "fix",
    "flat",
    "judged",
]
