"""Watch what a probe reads while the model talks, and act on it."""

from probes.monitoring.monitor import (
    Action,
    Monitor,
    MonitoredReplies,
    MonitoredReply,
    Stop,
    Switch,
    Warn,
    monitored,
    plot_first_reads,
    separation,
)

__all__ = [
    "Action",
    "Monitor",
    "MonitoredReplies",
    "MonitoredReply",
    "Stop",
    "Switch",
    "Warn",
    "monitored",
    "plot_first_reads",
    "separation",
]
