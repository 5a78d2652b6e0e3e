"""PyTorch to TFLite: conversion, precisions, quantisation."""
