"""An AWX made of scenarios and recordings, for the demo and the tests."""
