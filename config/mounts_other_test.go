//go:build !linux

package config_test

func childNamespace(string, string) int { return 1 }
