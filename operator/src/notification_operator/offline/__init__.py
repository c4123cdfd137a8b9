"""What can be done with pipelines where there is no cluster: `validate`, `render` and `dev`. `__main__` adds them."""
