//go:build !linux && !darwin && !windows

package status

// disk is not known here.
func disk(string) (size, free uint64, ok bool) { return 0, 0, false }
