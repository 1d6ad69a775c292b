"""One program per guarantee, at full size: run by `make prove`, and by nothing else."""
