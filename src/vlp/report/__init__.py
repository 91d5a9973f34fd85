"""What a branch changes, as Markdown for its pull request. Reads git objects and DVC's cache; never imports DVC."""
