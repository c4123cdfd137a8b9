"""The tests of the operator and of the dispatcher, and the cluster they run against."""
