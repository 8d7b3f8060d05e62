"""The pure part of guards: rules over text, masks and what they stand for, and texts that come in pieces."""
