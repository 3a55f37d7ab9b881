"""Several matrices as one source: arrays with three axes, lists, groups and files of tensors."""
