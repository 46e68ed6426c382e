"""Identity namespaces: the pages that list them, and make, change and delete a team's own."""
