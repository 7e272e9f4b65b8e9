"""What a run costs, before it starts: requests, bytes and hours, and money by the user's prices."""
