"""What is known of users: sliding windows, histories, the open group; which events count: duplicates and lateness."""
