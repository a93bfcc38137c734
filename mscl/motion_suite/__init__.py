"""Room motion_suite: does an encoder see motion? Any encoder on the generated suite, with every control."""
