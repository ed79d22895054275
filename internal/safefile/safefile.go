package safefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/svcblocks/svcblocks/internal/atomicfile"
)

// Policy says what is asked of a folder or file.
type Policy struct {
	// Perm is the mode of new files, before the umask. Defaults to 0600. With
	// the write bit for others it allows files that others may write.
	Perm fs.FileMode
	// DirPerm is the mode of new folders. Defaults to 0700. With the write bit
	// for others it allows folders that others may write.
	DirPerm fs.FileMode
	// Shared is the opt-out: owners and write bits are not looked at.
	Shared bool
	// OptOut names the option that sets Shared, for errors:
	// "notify.Outbox.Shared". Optional.
	OptOut string
}

func (p Policy) withDefaults() Policy {
	if p.Perm == 0 {
		p.Perm = 0o600
	}
	if p.DirPerm == 0 {
		p.DirPerm = 0o700
	}
	return p
}

// Error says why a file or folder is not opened. It matches fs.ErrPermission.
type Error struct {
	Path   string
	Mode   fs.FileMode
	Owner  int // user id; -1 where the system has none
	Reason string
	// Help says what to do, with the opt-out's name if there is one.
	Help string
}

func (e *Error) Error() string {
	text := fmt.Sprintf("%s (%s", e.Path, e.Mode)
	if e.Owner >= 0 {
		text += fmt.Sprintf(", owner %d", e.Owner)
	}
	text += "): " + e.Reason
	if e.Help != "" {
		text += ": " + e.Help
	}
	return text
}

// Is reports whether target is fs.ErrPermission.
func (e *Error) Is(target error) bool { return target == fs.ErrPermission } //nolint:errorlint // this is Is

// Advice says what to do.
func (e *Error) Advice() string { return e.Help }

// OpenFile opens one file, such as a log. The folders on the way are the
// caller's to choose; the last step is no link, and the file is regular, of the
// right owner and not for others to write. With O_TRUNC it is emptied after
// these checks. perm is the mode of a new file; 0 is p.Perm.
func OpenFile(path string, flag int, perm fs.FileMode, p Policy) (*os.File, error) {
	p = p.withDefaults()
	return p.open(fileAt(path), flag, perm)
}

// target is a file that is to be opened, by its path or below a folder.
type target struct {
	path   string
	open   func(flag int, perm fs.FileMode) (*os.File, error)
	lstat  func() (fs.FileInfo, error)
	folder func() (fs.FileInfo, error) // describes what holds it
}

func fileAt(path string) target {
	return target{
		path: path,
		open: func(flag int, perm fs.FileMode) (*os.File, error) {
			return atomicfile.OpenFile(path, flag|noFollow, perm)
		},
		lstat:  func() (fs.FileInfo, error) { return os.Lstat(path) },
		folder: func() (fs.FileInfo, error) { return os.Stat(filepath.Dir(path)) },
	}
}

// ReadFile returns what is in path, opened as by OpenFile.
func ReadFile(path string, p Policy) ([]byte, error) {
	f, err := OpenFile(path, os.O_RDONLY, 0, p)
	if err != nil {
		return nil, err
	}
	return readAll(f)
}

// MakeDir makes path and what is missing above it, and checks it as OpenDir
// does. It is for folders that another program writes to.
func MakeDir(path string, p Policy) error {
	d, err := OpenDir(path, p)
	if err != nil {
		return err
	}
	return d.Close()
}

// open opens a file and checks what was opened, not what the name stood for
// before: the name may be another's by now.
func (p Policy) open(t target, flag int, perm fs.FileMode) (*os.File, error) {
	if perm == 0 {
		perm = p.Perm
	}

	// A file may rightly be renamed or removed at this moment, by rotation. Who
	// swaps it all the time means no good.
	const tries = 10
	for range tries {
		f, same, err := p.openOnce(t, flag, perm)
		if err != nil {
			return nil, err
		}
		if !same {
			if err := f.Close(); err != nil {
				return nil, err
			}
			continue
		}

		if flag&os.O_TRUNC != 0 {
			if err := f.Truncate(0); err != nil {
				return nil, errors.Join(err, f.Close())
			}
		}
		return f, nil
	}
	return nil, &Error{Path: t.path, Owner: -1, Reason: "it is replaced all the time", Help: "find out who does it"}
}

// openOnce opens a file, and reports whether its name still leads to it.
func (p Policy) openOnce(t target, flag int, perm fs.FileMode) (f *os.File, same bool, err error) {
	// A link is told as one, and a device is not opened at all. This is for the
	// message; the check of what is open is the one that holds.
	if info, err := t.lstat(); err == nil {
		if err := regular(t.path, info); err != nil {
			return nil, false, err
		}
	}

	// O_TRUNC comes after the checks, so that a victim is not emptied.
	f, err = t.open(flag&^os.O_TRUNC, perm)
	if err != nil {
		if isLink(err) {
			if info, statErr := t.lstat(); statErr == nil {
				if err := regular(t.path, info); err != nil {
					return nil, false, err
				}
			}
		}
		return nil, false, err
	}

	info, err := p.checkOpen(f, t)
	if err != nil {
		return nil, false, errors.Join(err, f.Close())
	}
	if flag&os.O_EXCL != 0 {
		return f, true, nil // it is new, so no link was followed
	}
	// os.Root follows a link that stays within, and so do systems without
	// O_NOFOLLOW: what is open must be what has the name.
	name, err := t.lstat()
	return f, err == nil && os.SameFile(info, name), nil
}

// checkOpen checks the open file f.
func (p Policy) checkOpen(f *os.File, t target) (fs.FileInfo, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := regular(t.path, info); err != nil {
		return nil, err
	}
	if p.Shared {
		return info, nil
	}

	dir, err := t.folder()
	if err != nil {
		return nil, err
	}
	return info, p.checkFile(t.path, info, dir)
}

// checkFile applies the rules for a regular file that lies in dir.
func (p Policy) checkFile(path string, info, dir fs.FileInfo) error {
	owner, links := ownerOf(info)
	if owner < 0 {
		return nil // the system has no such owners
	}

	open := dir.Mode()&0o002 != 0
	dirOwner, _ := ownerOf(dir)
	mine := owner == 0 || owner == os.Geteuid()
	switch {
	case open && dir.Mode()&fs.ModeSticky != 0 && !mine, !mine && owner != dirOwner:
		return p.refuse(path, info, "it belongs to another user, who may have planted it", "remove it, or give it to this user (chown)")
	case info.Mode()&0o002 != 0 && p.Perm&0o002 == 0 && !readOnly(path):
		return p.refuse(path, info, "everybody may write it", "take the write bit from others (chmod o-w)")
	case open && links > 1 && !readOnly(path):
		return p.refuse(path, info, "it has a second name, and everybody may write its folder", "remove this name, or take the write bit of the folder from others (chmod o-w)")
	}
	return nil
}

// checkDir applies the rules for a folder.
func (p Policy) checkDir(path string, info fs.FileInfo) error {
	owner, _ := ownerOf(info)
	if p.Shared || owner < 0 {
		return nil
	}

	me := os.Geteuid()
	open := info.Mode()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0
	switch {
	case owner != 0 && owner != me && me != 0:
		return p.refuse(path, info, fmt.Sprintf("it belongs to another user, not to root or to %d", me), "choose a folder of this user's, or give it to this user (chown)")
	case open && p.DirPerm&0o002 == 0 && !readOnly(path):
		return p.refuse(path, info, "everybody may write it, and could plant files",
			"choose a folder below it, which is made for this user alone, or take the write bit from others (chmod o-w)")
	}
	return nil
}

func (p Policy) refuse(path string, info fs.FileInfo, reason, help string) error {
	owner, _ := ownerOf(info)
	if p.OptOut != "" {
		help += "; where a mount shows everything so, set " + p.OptOut
	}
	return &Error{Path: path, Mode: info.Mode(), Owner: owner, Reason: reason, Help: help}
}

// regular refuses links, devices, sockets, pipes and folders.
func regular(path string, info fs.FileInfo) error {
	owner, _ := ownerOf(info)
	e := &Error{Path: path, Mode: info.Mode(), Owner: owner}
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return nil
	case mode&fs.ModeSymlink != 0:
		e.Reason, e.Help = "it is a symbolic link, and what is behind it may be none of ours", "remove the link, or name the file itself"
	case mode.IsDir():
		e.Reason, e.Help = "it is a folder", "name a file"
	default:
		e.Reason, e.Help = "it is no regular file", "remove it, or name another file"
	}
	return e
}
