"""The storm: the whole platform under load and under faults, and the verdict on its promises."""
