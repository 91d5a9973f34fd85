"""What sources share: files below a root, local or remote, the meaning of columns, captions made of columns."""
