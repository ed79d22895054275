package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// NamespaceCommand returns the command that runs a program in network, mount
// and process namespaces of its own, in which it is root: as root directly,
// else in a user namespace. That maps every id of the machine where the user
// has subordinate ids (newuidmap(1), subuid(5)), so that daemons can take on
// users of their own, and else the user's alone.
//
// The program is process 1 of its namespace, and dies with the thread that
// starts it: when it ends, in whatever way, the kernel ends everything that it
// started.
func NamespaceCommand(path string, args ...string) *exec.Cmd {
	switch {
	case os.Geteuid() == 0:
		return directly(path, args...)
	case subordinateIDs():
		return throughUnshare(path, args...)
	}
	return inUserNamespace(path, args...)
}

// directly needs root.
func directly(path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	return cmd
}

// inUserNamespace maps root to the user and nobody else to anyone.
func inUserNamespace(path string, args ...string) *exec.Cmd {
	cmd := directly(path, args...)
	cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
	cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	return cmd
}

// throughUnshare maps root to the user and the other ids to subordinate ones,
// which takes newuidmap's rights; unshare(1) knows how to ask for them.
func throughUnshare(path string, args ...string) *exec.Cmd {
	cmd := exec.Command("unshare", append([]string{
		"--user", "--map-root-user", "--map-auto", "--net", "--mount", "--pid", "--fork", "--kill-child", "--", path,
	}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// probe is a command that needs the rights of a namespace's root: some kernels
// create a user namespace and then refuse every right in it.
var probe = []string{"mount", "--make-rprivate", "/"}

// subordinateIDs reports whether throughUnshare works.
var subordinateIDs = sync.OnceValue(func() bool {
	return throughUnshare(probe[0], probe[1:]...).Run() == nil
})

// namespaces returns nil where NamespaceCommand works, and else why not.
var namespaces = sync.OnceValue(func() error {
	out, err := NamespaceCommand(probe[0], probe[1:]...).CombinedOutput()
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
