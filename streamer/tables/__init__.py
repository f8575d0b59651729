"""What state is made of: flat arrays that grow, id tables, pools of rows in size classes, seeded random numbers."""
