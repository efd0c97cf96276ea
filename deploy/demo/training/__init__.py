# Copyright The Assay Authors. SPDX-License-Identifier: Apache-2.0
"""Trains the demo models, one module for each family, and checks the files they become."""
