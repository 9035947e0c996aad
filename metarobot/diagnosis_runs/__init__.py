"""Trained learners of faults in run folders: training, evaluating, diagnosing recordings.

They read recordings of one's own machines, or of the simulated arms.
"""

from metarobot.diagnosis_runs.evaluating import EvaluationPlan, arm_splits, evaluate, own_splits
from metarobot.diagnosis_runs.learner_names import LEARNER_NAMES, LearnerName
from metarobot.diagnosis_runs.predicting import Prediction, diagnose, predict_folder
from metarobot.diagnosis_runs.pretrained import pretrained_names
from metarobot.diagnosis_runs.results import DiagnosisResult
from metarobot.diagnosis_runs.run_folder import (
    DiagnosisRun,
    DiagnosisRunError,
    RunConfig,
    load_run,
    save_run,
)
from metarobot.diagnosis_runs.training import OwnTraining, TrainingPlan, train_arms, train_own

__all__ = [
    "LEARNER_NAMES",
    "DiagnosisResult",
    "DiagnosisRun",
    "DiagnosisRunError",
    "EvaluationPlan",
    "LearnerName",
    "OwnTraining",
    "Prediction",
    "RunConfig",
    "TrainingPlan",
    "arm_splits",
    "diagnose",
    "evaluate",
    "load_run",
    "own_splits",
    "predict_folder",
    "pretrained_names",
    "save_run",
    "train_arms",
    "train_own",
]
