// Package safefile opens files that others might have prepared: a link in the
// place of a queue, a message planted in an outbox, a settings file that
// anybody may change.
//
// # What we write
//
// [OpenDir] is for folders whose files are written and read again: an outbox, a
// cache, the queue of a log, Tor's data. [OpenFile] is for single files, such
// as a log. Both follow no link at the last step, open regular files alone, and
// demand, unless Policy.Shared is set:
//
//   - The folder of OpenDir belongs to root or to the user of the process; for
//     a process of root it may belong to any one user. Folders above it are not
//     looked at: one that is missing is made for its owner alone, so that
//     /data/outbox is right where /data is a mount that all may write.
//   - A file belongs to root, to the user of the process or to the owner of its
//     folder.
//   - Others may not write them (mode o+w). The write bit of a group is fine:
//     Kubernetes sets it by fsGroup. A read-only mount counts as not writable.
//     So does a folder with the sticky bit, where only files of root and of the
//     user of the process are taken.
//   - Where others may write the folder, a file has one name: a second one may
//     be a victim's.
//
// What is refused is an [*Error] with path, mode, reason and what to do.
//
// | place | mode, owner | as user 1000 | as root |
// |---|---|---|---|
// | Kubernetes emptyDir itself | 0777 root | refused, or Shared | refused, or Shared |
// | a folder below an emptyDir | made 0700 | taken | taken |
// | emptyDir with fsGroup | 2777 root | refused, or Shared | refused, or Shared |
// | volume with fsGroup | 2775 root | taken | taken |
// | hostPath given to one user | 0750 1000 | taken | taken |
// | hostPath of another user | 0755 2000 | refused | taken |
// | Docker Desktop, WSL: /mnt/c | 0777 all | refused, or Shared | refused, or Shared |
// | rootless container, own volume | 0755 root (mapped) | – | taken |
// | folder for temporary files | 1777 root | own files alone | own files alone |
//
// # What we are given
//
// Settings and secrets may be links, as those that Kubernetes mounts are.
// [Writable] lists who else may write them: the file, each link and its target,
// and the folders that hold them.
//
// On Windows files have no such owners and bits: folders inherit their access
// list, which is the administrator's. There links and other than regular files
// are refused, and nothing more. The same holds for js, wasip1 and Plan 9.
package safefile
