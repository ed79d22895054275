package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// NamespaceAttr returns the attributes with which a child process gets
// network, mount and process namespaces of its own, in which it is root: as
// root directly, else in a user namespace that maps root to the caller.
//
// The child is process 1 of its namespace: when it ends, in whatever way, the
// kernel ends everything that it started.
func NamespaceAttr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return attr
}

// namespaces returns nil where NamespaceAttr works, and else why not.
var namespaces = sync.OnceValue(func() error {
	// Some kernels create a user namespace and then refuse every right in it,
	// so the probe uses one.
	cmd := exec.Command("mount", "--make-rprivate", "/")
	cmd.SysProcAttr = NamespaceAttr()
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	hint := "run as root, or allow unprivileged user namespaces " +
		"(sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 or kernel.unprivileged_userns_clone=1)"
	if os.Geteuid() == 0 {
		hint = "a container needs the right to create them (docker run --privileged)"
	}
	return fmt.Errorf("network namespaces cannot be created here: %w %s: %s", err, out, hint)
})
