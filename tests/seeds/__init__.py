"""What the seeds promise: each test carries the numbers of the promises that it proves (``test_s0_07_...``).

``make seeds`` prints them all, with what came of each; tests elsewhere that carry a number count, too."""
