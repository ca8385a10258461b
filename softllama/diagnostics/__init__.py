"""Is softllama sound here (doctor), and how fast is it (bench)?"""
