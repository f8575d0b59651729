"""What is learned: the gate over signals, the fusion head over frozen content vectors."""
