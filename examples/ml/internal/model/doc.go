// Package model is a small neural network that tells classes apart: trained by
// gomlx in pure Go, kept on disk, loaded again, and asked.
//
// The network is a multilayer perceptron, two hidden layers with ReLU, then
// one value per class, made into probabilities by softmax. What is saved is the
// network's checkpoint and model.json, which names the features and classes: a
// network without them is a box of numbers.
package model
