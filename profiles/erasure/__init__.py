"""Erasing a person: all that is known of them goes, and the trail tells that it did, without saying what it was."""
