package status

import "golang.org/x/sys/windows"

// disk returns the bytes of the disk that holds path, and those that the
// service may still use.
func disk(path string) (size, free uint64, ok bool) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, 0, false
	}
	if err := windows.GetDiskFreeSpaceEx(name, &free, &size, nil); err != nil {
		return 0, 0, false
	}
	return size, free, true
}
