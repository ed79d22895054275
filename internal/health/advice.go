package health

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Advice names the cause of err and says what to do about it: a full disk, no
// inodes, a permission, a name that does not resolve, a certificate, a receiver
// that refuses. It is empty where nothing better than err itself is known. An
// error may have its own say by a method Advice() string.
func Advice(err error) string {
	if err == nil {
		return ""
	}
	if a, ok := errors.AsType[interface {
		error
		Advice() string
	}](err); ok {
		if text := a.Advice(); text != "" {
			return text
		}
	}

	// What the system says is the most certain, a text the least.
	for _, advise := range []func(error) string{adviseErrno, adviseNetwork, adviseStatus, adviseText} {
		if text := advise(err); text != "" {
			return text
		}
	}
	return ""
}

// adviseErrno tells the system's errors apart. cause sorts those of Windows to
// their Unix names.
func adviseErrno(err error) string {
	path := pathOf(err)
	at := func(text string) string {
		if path == "" {
			return fmt.Sprintf(text, "the file")
		}
		return fmt.Sprintf(text, path)
	}

	switch cause(err) {
	case noSpace:
		return adviseSpace(path)
	case quota:
		return at("the user's quota on the file system of %s is used up: raise it or free some of it")
	case tooLarge:
		return at("%s may not become larger: raise the limit of the process (ulimit -f) or use a file system that takes larger files")
	case noPermission:
		return at("no permission for %s: let the user of this process (" + user() + ") read and write it and its folder")
	case notPermitted:
		return at("the system does not permit it for %s: see its owner, its attributes (immutable, append-only) and what confines this process")
	case readOnly:
		return at("the file system of %s is mounted read-only: mount it for writing, or choose another folder")
	case tooManyFiles:
		return "this process may open no more files: raise its limit (ulimit -n, LimitNOFILE)"
	case tooManyFilesSystem:
		return "the system may open no more files: raise fs.file-max"
	case noMemory:
		return "the system has no memory left for it: raise the limit or free some"
	case missing:
		return at("%s does not exist: was it, or a folder above it, removed or never mounted?")
	case notFolder:
		return at("a part of %s that should be a folder is none")
	case linked:
		return at("%s is a symbolic link or lies behind too many: name the file itself")
	case ioFault:
		return at("the device below %s has a fault: see the system's log")
	case stale:
		return at("the network file system of %s was replaced: mount it again")
	case sharing:
		return at("another program has %s open: end it, or exclude the folder from its scans")
	case refused:
		return "nobody listens at that address: see that the receiver runs, and that host and port are right"
	case reset:
		return "the other side ended the connection: see its log, and whether it speaks TLS where we do not"
	case unreachable:
		return "there is no route to that address: see the network of this machine, and a firewall"
	case timedOut:
		return "the other side does not answer: see that host and port are right and that no firewall drops it"
	case addressInUse:
		return "another program has that address: end it, or choose another port"
	}
	return ""
}

// The causes that adviseErrno knows.
const (
	unknown = iota
	noSpace
	quota
	tooLarge
	noPermission
	notPermitted
	readOnly
	tooManyFiles
	tooManyFilesSystem
	noMemory
	missing
	notFolder
	linked
	ioFault
	stale
	sharing
	refused
	reset
	unreachable
	timedOut
	addressInUse
)

// cause sorts err by its system error, or by what io/fs says where there is
// none.
func cause(err error) int {
	if no, ok := errors.AsType[syscall.Errno](err); ok {
		if c, ok := causeOf(no); ok {
			return c
		}
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return noPermission
	case errors.Is(err, fs.ErrNotExist):
		return missing
	case errors.Is(err, os.ErrDeadlineExceeded):
		return timedOut
	}
	return unknown
}

// adviseSpace tells a disk without space from one without inodes, which the
// system reports alike.
func adviseSpace(path string) string {
	if path == "" {
		return "the disk is full, or has no inodes left: free some, or use a larger one"
	}

	// The file may not exist, but a folder above it does.
	for dir := path; ; dir = filepath.Dir(dir) {
		if space, inodes, ok := left(dir); ok {
			switch {
			case inodes == 0 && space > 0:
				return fmt.Sprintf("the file system of %s has no inodes left (df -i): remove small files, or make it with more inodes", path)
			case inodes == 0:
				return fmt.Sprintf("the file system of %s is full and has no inodes left: free some, or use a larger one", path)
			}
			return fmt.Sprintf("the file system of %s is full: free some space, or use a larger one", path)
		}
		if dir == filepath.Dir(dir) {
			return fmt.Sprintf("the file system of %s is full, or has no inodes left: free some, or use a larger one", path)
		}
	}
}

// pathOf returns the file that err is about, or nothing.
func pathOf(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Path
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.New
	}
	return ""
}

// user names the user of this process.
func user() string {
	if id := os.Getuid(); id >= 0 {
		return fmt.Sprint("id ", id)
	}
	return "the account it runs under"
}

// adviseNetwork knows the errors of net, crypto/tls and crypto/x509 by the
// names of their types, so that this package does not link them.
func adviseNetwork(err error) string {
	var timeout bool
	var text string

	walk(err, func(err error) bool {
		switch fmt.Sprintf("%T", err) {
		case "*net.DNSError":
			text = "the name does not resolve: see how it is spelled, and the name server of this machine (/etc/resolv.conf)"
			if is(err, func(e interface{ Timeout() bool }) bool { return e.Timeout() }) {
				text = "the name server does not answer: see /etc/resolv.conf and the network of this machine"
			}
		case "x509.UnknownAuthorityError":
			text = "the certificate is from nobody whom this machine trusts: add its authority to the system's (ca-certificates), or to the settings if they have a place for it"
		case "x509.HostnameError":
			text = "the certificate is for another name: use the name that it is for, or a certificate for this one"
		case "x509.CertificateInvalidError":
			text = "the certificate does not hold, most often because it has expired: renew it, and see this machine's clock"
		case "x509.SystemRootsError":
			text = "this machine has no list of trusted authorities: install ca-certificates"
		case "tls.RecordHeaderError":
			text = "the other side does not speak TLS: is https meant to be http, or the port another one?"
		case "tls.AlertError", "*tls.CertificateVerificationError":
			// The cause below says more, if there is one.
		case "*tls.ECHRejectionError":
			text = "the other side refused the encrypted hello"
		}

		timeout = timeout || is(err, func(e interface{ Timeout() bool }) bool { return e.Timeout() })
		return text == ""
	})

	if text == "" && timeout {
		return "the other side does not answer in time: see that host and port are right, and whether it is overloaded"
	}
	return text
}

// adviseStatus reads an HTTP status, from any error that has one.
func adviseStatus(err error) string {
	var status int
	walk(err, func(err error) bool {
		is(err, func(e interface{ StatusCode() int }) bool { status = e.StatusCode(); return true })
		return status == 0
	})

	return AdviceOfStatus(status)
}

// AdviceOfStatus says what to do about an HTTP status, for errors that hold it
// otherwise than as a method StatusCode. It is empty for what is no failure.
func AdviceOfStatus(status int) string {
	switch {
	case status == 400 || status == 422:
		return fmt.Sprintf("the receiver refuses what was sent (%d): see what it says of it, and whether the address is that of another service", status)
	case status == 401:
		return "the receiver does not know the credentials (401): see token, user and password, and whether they have expired"
	case status == 403:
		return "the receiver knows the credentials and forbids it (403): see what they are allowed to do"
	case status == 404 || status == 405:
		return fmt.Sprintf("the receiver has nothing at that address (%d): see the path of the URL", status)
	case status == 407:
		return "the proxy asks for credentials (407): see the proxy's address in the settings or the environment"
	case status == 408 || status == 504:
		return fmt.Sprintf("the receiver, or what stands in front of it, gave up waiting (%d)", status)
	case status == 413:
		return "what was sent is too large for the receiver (413): lower the size that is sent at once, or raise its limit"
	case status == 421:
		return "the receiver does not answer to that host name (421): see its list of hosts"
	case status == 429:
		return "the receiver asks to be asked less often (429): raise the limit there, or send less"
	case status >= 500:
		return fmt.Sprintf("the receiver is not well (%d): see its log", status)
	case status >= 300 && status < 400:
		return fmt.Sprintf("the receiver points to another address (%d): set that one, as redirects are not followed", status)
	case status >= 400:
		return fmt.Sprintf("the receiver refuses it (%d): see its log", status)
	}
	return ""
}

// adviseText knows what net/http and common servers say in words alone.
func adviseText(err error) string {
	text := err.Error()
	for _, known := range []struct{ says, advice string }{
		{"server gave HTTP response to HTTPS client", "the other side does not speak TLS: is https meant to be http, or the port another one?"},
		{"HTTP request to an HTTPS server", toTLS},
		{"plain HTTP request was sent to HTTPS port", toTLS},
		{`malformed HTTP response "\x15\x03`, toTLS},
		{"certificate signed by unknown authority", "the certificate is from nobody whom this machine trusts: add its authority to the system's (ca-certificates)"},
	} {
		if strings.Contains(text, known.says) {
			return known.advice
		}
	}
	return ""
}

const toTLS = "the other side speaks TLS on that port: is http meant to be https?"

// walk calls see for err and all that it wraps, until see returns false.
func walk(err error, see func(error) bool) bool {
	if err == nil {
		return true
	}
	if !see(err) {
		return false
	}

	switch e := any(err).(type) { // this is the walk itself
	case interface{ Unwrap() error }:
		return walk(e.Unwrap(), see)
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			if !walk(err, see) {
				return false
			}
		}
	}

	return true
}

// is calls ask if err itself has the method.
func is[T any](err error, ask func(T) bool) bool {
	e, ok := any(err).(T) // walk has unwrapped it
	return ok && ask(e)
}
