package health_test

import (
	"errors"
	"io/fs"
	"runtime"
	"syscall"
	"testing"

	"github.com/svcblocks/svcblocks/internal/health"
)

func TestFaults(t *testing.T) {
	t.Parallel()
	full, readOnly, cutOff := syscall.ENOSPC, syscall.EROFS, syscall.ECONNRESET
	if runtime.GOOS == "windows" {
		full, readOnly, cutOff = 112, 19, 10054 // ERROR_DISK_FULL, ERROR_WRITE_PROTECT, WSAECONNRESET
	}
	for _, tt := range []struct {
		name                  string
		err                   error
		storage, disconnected bool
	}{
		{"nil", nil, false, false},
		{"full", pathError(full), true, false},
		{"read-only", pathError(readOnly), true, false},
		{"cut off", pathError(cutOff), false, true},
		{"full, then cut off", errors.Join(pathError(full), pathError(cutOff)), true, true},
		{"removed", fs.ErrNotExist, false, false},
		{"unknown", errors.New("odd"), false, false},
	} {
		if got := health.StorageFault(tt.err); got != tt.storage {
			t.Errorf("%s: StorageFault = %v, want %v", tt.name, got, tt.storage)
		}
		if got := health.Disconnected(tt.err); got != tt.disconnected {
			t.Errorf("%s: Disconnected = %v, want %v", tt.name, got, tt.disconnected)
		}
	}
}
