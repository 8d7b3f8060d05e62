"""Who may do what, how often and for how much: pure rules over what the management API stores."""
