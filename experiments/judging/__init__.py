"""The labelled replies that the local judge learns from: how they are said, labelled by hand, and fitted."""
