"""What the audit's error rates are measured on: models, ways of finetuning them, and each as it is and edited."""
