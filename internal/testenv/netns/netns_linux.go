package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/internal/testenv/testdns"
)

// signalTimeout is how long the tests have to end after a signal.
const signalTimeout = 10 * time.Second

// again runs this test binary in new namespaces and waits for it.
func again() (int, error) {
	dir, err := os.MkdirTemp("", "svcblocks-netns-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	// The death signal is sent when the thread that started the child ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	binary, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := testenv.NamespaceCommand(binary, os.Args[1:]...)
	cmd.Env = append(os.Environ(), variable+"=enter:"+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr

	// SIGQUIT is how the go command asks for stack traces at a time-out.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	var overdue <-chan time.Time
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s)
			overdue = time.After(signalTimeout)
		case <-overdue:
			_ = cmd.Process.Kill()
		case err := <-done:
			if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
				return max(exit.ExitCode(), 1), nil
			}
			return 0, err
		}
	}
}

// setUp prepares the namespaces that this process has been started in, and
// returns the function that ends what it started.
func setUp(dir string) (leave func(), err error) {
	// No mount made here may reach the machine.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("making the mounts private: %w", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=0755"); err != nil {
		return nil, fmt.Errorf("mounting %s: %w", dir, err)
	}

	if err := loopbackUp(); err != nil {
		return nil, fmt.Errorf("bringing up the loopback interface: %w", err)
	}
	for file, text := range map[string]string{
		"/etc/resolv.conf": "nameserver 127.0.0.1\n",
		// Name services other than DNS would reach daemons of the machine.
		"/etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
	} {
		if err := replace(file, filepath.Join(dir, filepath.Base(file)), text); err != nil {
			return nil, err
		}
	}

	trap, err := testdns.Listen("127.0.0.1:53", nil)
	if err != nil {
		return nil, fmt.Errorf("the local resolver: %w", err)
	}

	state.Lock()
	defer state.Unlock()
	state.inside, state.dir, state.trap = true, dir, trap
	return func() { _ = trap.Close() }, nil
}

// replace puts text in the place of a file of the machine, as this mount
// namespace sees it. A file that does not exist stays so.
func replace(file, with, text string) error {
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := os.WriteFile(with, []byte(text), 0o644); err != nil {
		return err
	}
	if err := syscall.Mount(with, file, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("replacing %s: %w", file, err)
	}
	return nil
}

// loopbackUp switches the loopback interface on.
func loopbackUp() error {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return err
	}
	// struct ifinfomsg: family, padding, type, index, flags, change mask.
	body := []byte{syscall.AF_UNSPEC, 0}
	body = binary.NativeEndian.AppendUint16(body, 0)
	body = binary.NativeEndian.AppendUint32(body, uint32(lo.Index))
	body = binary.NativeEndian.AppendUint32(body, syscall.IFF_UP)
	body = binary.NativeEndian.AppendUint32(body, syscall.IFF_UP)
	return netlink(syscall.RTM_NEWLINK, 0, body)
}

// addAddr adds an address to the loopback interface.
func addAddr(addr netip.Addr) error {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return err
	}
	family := byte(syscall.AF_INET)
	if addr.Is6() {
		family = syscall.AF_INET6
	}

	// struct ifaddrmsg: family, prefix length, flags, scope, index.
	body := []byte{family, byte(addr.BitLen()), 0, syscall.RT_SCOPE_UNIVERSE}
	body = binary.NativeEndian.AppendUint32(body, uint32(lo.Index))
	for _, attr := range []uint16{syscall.IFA_LOCAL, syscall.IFA_ADDRESS} {
		body = binary.NativeEndian.AppendUint16(body, uint16(syscall.SizeofRtAttr+len(addr.AsSlice())))
		body = binary.NativeEndian.AppendUint16(body, attr)
		body = append(body, addr.AsSlice()...)
	}

	err = netlink(syscall.RTM_NEWADDR, syscall.NLM_F_CREATE|syscall.NLM_F_EXCL, body)
	if err != nil && !errors.Is(err, syscall.EEXIST) {
		return fmt.Errorf("netns: adding %v: %w", addr, err)
	}
	return nil
}

// netlink sends one request to the kernel's routing socket and returns its
// answer: netlink(7), rtnetlink(7).
func netlink(kind, flags uint16, body []byte) error {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, syscall.NETLINK_ROUTE)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer syscall.Close(fd)

	msg := binary.NativeEndian.AppendUint32(nil, uint32(syscall.SizeofNlMsghdr+len(body)))
	msg = binary.NativeEndian.AppendUint16(msg, kind)
	msg = binary.NativeEndian.AppendUint16(msg, syscall.NLM_F_REQUEST|syscall.NLM_F_ACK|flags)
	msg = binary.NativeEndian.AppendUint32(msg, 1)
	msg = binary.NativeEndian.AppendUint32(msg, 0)
	msg = append(msg, body...)
	if err := syscall.Sendto(fd, msg, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}

	answer := make([]byte, 4096)
	n, _, err := syscall.Recvfrom(fd, answer, 0)
	if err != nil {
		return os.NewSyscallError("recvfrom", err)
	}
	answers, err := syscall.ParseNetlinkMessage(answer[:n])
	if err != nil {
		return err
	}

	for _, a := range answers {
		if a.Header.Type != syscall.NLMSG_ERROR || len(a.Data) < 4 {
			continue
		}
		if code := int32(binary.NativeEndian.Uint32(a.Data)); code != 0 {
			return syscall.Errno(-code)
		}
	}
	return nil
}
