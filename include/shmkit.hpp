/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * shmkit for C++17 and later: regions of shared memory as move-only objects, locks to be placed in them, and queues of
 * typed messages, over the C API in shmkit.h.
 *
 *     struct telemetry { std::uint64_t count; double speed; };
 *     SHMKIT_REGION_TYPE(telemetry, 3);                    // at global scope; the same as SHMKIT_LAYOUT in C
 *
 *     auto shared = shmkit::region::open_or_create<telemetry>("posix:/telemetry").value();
 *     shared->speed = 12.5;
 *
 * Header only: the library behind it is the C library. What a call does, its units (bytes, unless another unit is
 * named), the errors it can give and what it promises to threads, forks and signal handlers stand in shmkit.h, at the
 * function of the same name with shmkit_region_ or shmkit_ in front; here stands only what C++ adds. What locks do, and
 * how one learns that their holder died, stands at the head of the part on synchronisation. Queues are the last part.
 *
 * Errors, by choice. Every operation gives a result<T>, which has to be looked at:
 *     if (auto opened = shmkit::region::open(name)) use(*opened); else complain(opened.error().message());
 * or, with exceptions, value() throws shmkit::error, a std::system_error whose what() is the whole message:
 *     auto region = shmkit::region::open(name).value();
 * Without exceptions (-fno-exceptions) value() of a failure writes the message to standard error and calls
 * std::terminate(). Members that the standard names, as lock(), have its signatures and do as value() does.
 * Nothing here needs RTTI. Beside errors, std::bad_alloc can come from the strings of a failure.
 *
 * Callables (init, participants, list, gc) may throw: the exception is caught before it reaches the C library, the
 * operation is undone or stopped, and the exception goes on from the function that was called.
 *
 * Threads: one region is like one C handle. Calls on it may run at once in several threads, except those that change
 * the object itself: assignment, swap, close(), release(), destruction.
 */
#ifndef SHMKIT_HPP
#define SHMKIT_HPP

#if !defined(__cplusplus) || __cplusplus < 201703L
#error "shmkit.hpp needs C++17 or later; in C include shmkit.h"
#endif

#include <shmkit.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <shared_mutex>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>

#if __cplusplus >= 202002L && __has_include(<span>)
#include <span>
#endif
#if defined(__cpp_lib_span)
#define SHMKIT_DETAIL_SPAN 1
#else
#define SHMKIT_DETAIL_SPAN 0
#endif

#if defined(__cpp_exceptions)
#define SHMKIT_DETAIL_EXCEPTIONS 1
#else
#define SHMKIT_DETAIL_EXCEPTIONS 0
#endif

namespace shmkit {

// ------------------------------------------------------------------------------------------------ errors

namespace detail {

/** What the status codes mean, for std::error_code. */
class status_category final : public std::error_category {
public:
    const char *name() const noexcept override { return "shmkit"; }

    std::string message(int status) const override { return shmkit_status_message(status); }

    std::error_condition default_error_condition(int status) const noexcept override
    {
        switch (status) {
        case SHMKIT_ERR_INVALID_ARGUMENT:
        case SHMKIT_ERR_LAYOUT:
        case SHMKIT_ERR_NOT_A_REGION:
        case SHMKIT_ERR_UNINITIALISED:
            return std::errc::invalid_argument;
        case SHMKIT_ERR_BAD_POINTER:
            return std::errc::bad_address;
        case SHMKIT_ERR_BAD_DESCRIPTOR:
        case SHMKIT_ERR_BAD_HANDLE:
            return std::errc::bad_file_descriptor;
        case SHMKIT_ERR_NOT_FOUND:
        case SHMKIT_ERR_UNFINISHED:
            return std::errc::no_such_file_or_directory;
        case SHMKIT_ERR_EXISTS:
            return std::errc::file_exists;
        case SHMKIT_ERR_ACCESS:
            return std::errc::permission_denied;
        case SHMKIT_ERR_NOT_PERMITTED:
        case SHMKIT_ERR_OWNER:
        case SHMKIT_ERR_NOT_OWNER:
            return std::errc::operation_not_permitted;
        case SHMKIT_ERR_NAME_TOO_LONG:
            return std::errc::filename_too_long;
        case SHMKIT_ERR_NO_SPACE:
            return std::errc::no_space_on_device;
        case SHMKIT_ERR_NO_MEMORY:
            return std::errc::not_enough_memory;
        case SHMKIT_ERR_LIMIT:
            return std::errc::too_many_files_open;
        case SHMKIT_ERR_TOO_BIG:
            return std::errc::file_too_large;
        case SHMKIT_ERR_OVERFLOW:
            return std::errc::value_too_large;
        case SHMKIT_ERR_REMOVED:
            return std::errc::identifier_removed;
        case SHMKIT_ERR_BUSY:
            return std::errc::device_or_resource_busy;
        case SHMKIT_ERR_AGAIN:
            return std::errc::resource_unavailable_try_again;
        case SHMKIT_ERR_INTERRUPTED:
            return std::errc::interrupted;
        case SHMKIT_ERR_UNSUPPORTED:
        case SHMKIT_ERR_BACKEND:
            return std::errc::operation_not_supported;
        case SHMKIT_ERR_PAST_END:
        case SHMKIT_ERR_TRUNCATED:
            return std::errc::no_such_device_or_address;
        case SHMKIT_ERR_NOT_MAPPABLE:
            return std::errc::no_such_device;
        case SHMKIT_ERR_IO:
        case SHMKIT_ERR_INTERNAL:
            return std::errc::io_error;
        case SHMKIT_ERR_NOT_AN_OBJECT:
            return std::errc::is_a_directory;
        case SHMKIT_ERR_TIMEOUT:
            return std::errc::timed_out;
        case SHMKIT_ERR_CALLBACK:
            return std::errc::operation_canceled;
        case SHMKIT_ERR_OWNER_DIED:
            return std::errc::owner_dead;
        case SHMKIT_ERR_NOT_RECOVERABLE:
            return std::errc::state_not_recoverable;
        case SHMKIT_ERR_DEADLOCK:
            return std::errc::resource_deadlock_would_occur;
        case SHMKIT_ERR_CLOSED:
            return std::errc::broken_pipe;
        default:
            return std::error_condition(status, *this);
        }
    }
};

} // namespace detail

/** The category of codes whose value is one of SHMKIT_ERR_. They compare with the std::errc of their errno. */
inline const std::error_category &category() noexcept
{
    static const detail::status_category only;
    return only;
}

/** Why an operation failed, with its words copied: valid as long as the object, whatever is called in between. */
class failure {
public:
    /** No failure. */
    failure() noexcept = default;

    failure(shmkit_status_t status, int errno_value, std::string message) noexcept
        : status_(status), errno_(errno_value), message_(std::move(message))
    {
    }

    /** What this thread's last call of the C API, which gave `status`, left to say. */
    static failure last(shmkit_status_t status)
    {
        const shmkit_error_t *error = shmkit_last_error();
        if (error == nullptr || error->code != status)
            return failure(status, 0, shmkit_status_message(status));
        const int errno_value = error->errno_value;
        return failure(status, errno_value, shmkit_last_error_message());
    }

    /** One of SHMKIT_ERR_, or SHMKIT_OK when there was no failure. */
    shmkit_status_t status() const noexcept { return status_; }

    /** The errno that came with it. */
    int errno_value() const noexcept { return errno_; }

    /** The call, why it failed, with figures, and what to do, on one line. */
    const std::string &message() const noexcept { return message_; }

    /** The name of the status, as "SHMKIT_ERR_NO_SPACE". */
    const char *name() const noexcept { return shmkit_status_name(status_); }

    /** The status in category(); equal to the std::errc of its errno: code() == std::errc::no_space_on_device. */
    std::error_code code() const noexcept { return std::error_code(status_, category()); }

private:
    shmkit_status_t status_ = SHMKIT_OK;
    int errno_ = 0;
    std::string message_;
};

/** What value() throws. code() is failure::code(), what() is failure::message(). */
class error : public std::system_error {
public:
    explicit error(failure why)
        : std::system_error(why.code()), why_(std::make_shared<const failure>(std::move(why)))
    {
    }

    const char *what() const noexcept override { return why_->message().c_str(); }
    const failure &why() const noexcept { return *why_; }
    shmkit_status_t status() const noexcept { return why_->status(); }
    int errno_value() const noexcept { return why_->errno_value(); }

private:
    // Shared: copying an exception must not throw.
    std::shared_ptr<const failure> why_;
};

/** What is thrown for SHMKIT_ERR_OWNER_DIED: code() == std::errc::owner_dead. See the part on synchronisation. */
class owner_died : public error {
public:
    using error::error;
};

namespace detail {

[[noreturn]] inline void raise(const failure &why)
{
#if SHMKIT_DETAIL_EXCEPTIONS
    if (why.status() == SHMKIT_ERR_OWNER_DIED)
        throw owner_died(why);
    throw error(why);
#else
    std::fprintf(stderr, "%s\n", why.message().c_str());
    std::terminate();
#endif
}

} // namespace detail

/**
 * A value, or the failure that came instead of it. In the manner of std::expected, with two differences: operator* and
 * operator-> are checked as value() is, and value() of a temporary gives the value itself, not a reference into it.
 */
template <class T> class [[nodiscard]] result {
    static_assert(std::is_object_v<T> && !std::is_same_v<std::remove_cv_t<T>, failure>, "a result holds an object");

public:
    using value_type = T;
    using error_type = failure;

    result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    result(failure why) : state_(std::in_place_index<1>, std::move(why)) {}

    bool has_value() const noexcept { return state_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }

    /** The value; throws shmkit::error when there is none. */
    T &value() & { return *checked(std::get_if<0>(&state_)); }
    const T &value() const & { return *checked(std::get_if<0>(&state_)); }
    T value() && { return std::move(*checked(std::get_if<0>(&state_))); }

    T &operator*() & { return value(); }
    const T &operator*() const & { return value(); }
    T operator*() && { return std::move(*this).value(); }
    T *operator->() { return checked(std::get_if<0>(&state_)); }
    const T *operator->() const { return checked(std::get_if<0>(&state_)); }

    template <class U> T value_or(U &&other) const &
    {
        return has_value() ? *std::get_if<0>(&state_) : static_cast<T>(std::forward<U>(other));
    }
    template <class U> T value_or(U &&other) &&
    {
        return has_value() ? std::move(*std::get_if<0>(&state_)) : static_cast<T>(std::forward<U>(other));
    }

    /** Why there is no value; a failure of status SHMKIT_OK when there is one. */
    const failure &error() const noexcept
    {
        static const failure none;
        const failure *why = std::get_if<1>(&state_);
        return why != nullptr ? *why : none;
    }

    /** SHMKIT_OK, or one of SHMKIT_ERR_. */
    shmkit_status_t status() const noexcept { return has_value() ? SHMKIT_OK : error().status(); }

private:
    template <class U> U *checked(U *value) const
    {
        if (value == nullptr)
            detail::raise(error());
        return value;
    }

    std::variant<T, failure> state_;
};

/** Done, or the failure that came instead. */
template <> class [[nodiscard]] result<void> {
public:
    using value_type = void;
    using error_type = failure;

    /** Done. */
    result() noexcept = default;
    result(failure why) : why_(std::move(why)) {}

    bool has_value() const noexcept { return !why_; }
    explicit operator bool() const noexcept { return has_value(); }

    /** Throws shmkit::error when it was not done. */
    void value() const
    {
        if (why_)
            detail::raise(*why_);
    }

    /** Why it was not done; a failure of status SHMKIT_OK when it was. */
    const failure &error() const noexcept
    {
        static const failure none;
        return why_ ? *why_ : none;
    }

    /** SHMKIT_OK, or one of SHMKIT_ERR_. */
    shmkit_status_t status() const noexcept { return why_ ? why_->status() : SHMKIT_OK; }

private:
    std::optional<failure> why_;
};

namespace detail {

inline result<void> done(shmkit_status_t status)
{
    if (status == SHMKIT_OK)
        return {};
    return failure::last(status);
}

} // namespace detail

// ------------------------------------------------------------------------------------------------ types in regions

/** Specialised by SHMKIT_REGION_TYPE: `static constexpr shmkit_layout_t layout()`. */
template <class T> struct region_type;

/**
 * Says that regions may hold `type`, in this version; a changed definition gets a new version. At global scope, with a
 * semicolon. The fingerprint is that of SHMKIT_LAYOUT(struct type, version) in a C program with the same definition.
 */
#define SHMKIT_REGION_TYPE(type, version) SHMKIT_REGION_TYPE_AS(type, #type, version)

/** The same with a name of its own: SHMKIT_REGION_TYPE_AS(app::telemetry, "telemetry", 3), for C's struct telemetry. */
#define SHMKIT_REGION_TYPE_AS(type, name, version)                                              \
    template <> struct shmkit::region_type<type> {                                              \
        static constexpr ::shmkit_layout_t layout() noexcept                                    \
        {                                                                                       \
            return ::shmkit_layout_t{(name), sizeof(type), (version), alignof(type)};           \
        }                                                                                       \
    }

namespace detail {

template <class T, class = void> struct has_layout : std::false_type {};
template <class T> struct has_layout<T, std::void_t<decltype(region_type<T>::layout())>> : std::true_type {};

/** The layout of a type, once it is certain that the type can live in a region. */
template <class T> constexpr shmkit_layout_t layout_of() noexcept
{
    using bare = std::remove_cv_t<T>;
    static_assert(has_layout<bare>::value, "name the type and its version: SHMKIT_REGION_TYPE(type, version); at "
                                           "global scope");
    static_assert(std::is_standard_layout_v<bare>, "a type in a region must have standard layout: no virtual "
                                                   "functions, one access level, as in C");
    static_assert(std::is_trivially_destructible_v<bare>, "a type in a region must need no destructor: nobody would "
                                                          "run it, and what it owned would be of one process only");
    if constexpr (has_layout<bare>::value)
        return region_type<bare>::layout();
    else
        return shmkit_layout_t{nullptr, 0, 0, 0};
}

using layout_name = std::array<char, sizeof(shmkit_region_stat_t::layout_name)>;

/** A type's name as the library keeps it: without "struct", and cut. */
constexpr layout_name kept_name(const char *name) noexcept
{
    const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f'; };
    const auto trimmed = [&](const char *text) {
        while (is_space(*text))
            ++text;
        return text;
    };
    layout_name kept{};
    name = trimmed(name);
    for (const char *word : {"struct ", "union ", "class "}) {
        std::size_t length = 0;
        while (word[length] != '\0' && name[length] == word[length])
            ++length;
        if (word[length] == '\0') {
            name = trimmed(name + length);
            break;
        }
    }
    std::size_t length = 0, end = 0;
    while (name[length] != '\0')
        ++length;
    while (length > 0 && is_space(name[length - 1]))
        --length;
    for (; end < length && end + 1 < kept.size(); ++end)
        kept[end] = name[end];
    return kept;
}

/** Its address stands for a type, without RTTI. */
template <class T> inline constexpr char type_tag = 0;

} // namespace detail

// ------------------------------------------------------------------------------------------------ options

/** When the space of a region is found. */
enum class space_policy : std::int32_t {
    reserve = SHMKIT_SPACE_RESERVE,
    lazy = SHMKIT_SPACE_LAZY,
    populate = SHMKIT_SPACE_POPULATE,
};

/** Whether a region has huge pages. */
enum class huge_page_policy : std::int32_t {
    none = SHMKIT_HUGE_NONE,
    attempt = SHMKIT_HUGE_TRY,
    require = SHMKIT_HUGE_REQUIRE,
};

/** How far sync() goes. */
enum class sync_level : std::int32_t {
    start = SHMKIT_SYNC_START,
    data = SHMKIT_SYNC_DATA,
    file = SHMKIT_SYNC_FILE,
    name = SHMKIT_SYNC_NAME,
};

/** What the receiver of a region may do with it. */
enum class send_access : std::int32_t {
    read_write = SHMKIT_SEND_READ_WRITE,
    read_only = SHMKIT_SEND_READ_ONLY,
};

/** What gc() does with what it finds. */
enum class gc_mode : std::int32_t {
    dry_run = SHMKIT_GC_DRY_RUN,
    remove = SHMKIT_GC_REMOVE,
};

/** An answer that may be missing. */
enum class answer : std::int32_t {
    no = SHMKIT_ANSWER_NO,
    yes = SHMKIT_ANSWER_YES,
    unknown = SHMKIT_ANSWER_UNKNOWN,
};

/**
 * What a program asks for; see shmkit_region_options_t. Every member has the usual value, so name only what differs:
 * options{.size = 4096, .read_only = true} in C++20, or set members one by one in C++17.
 */
struct options {
    /** Bytes of data. Needed to create, unless a type is named: then 0 means the size of the type. */
    std::uint64_t size = 0;
    /** The most that it may grow to, in bytes; 0: it does not grow. */
    std::uint64_t max_size = 0;
    /** The type that it holds, where it is not named by create<T>() and the others. */
    shmkit_layout_t layout = {nullptr, 0, 0, 0};
    /** How long to wait for a live peer. Zero: not at all; nanoseconds::max(): for ever. */
    std::chrono::nanoseconds timeout = std::chrono::seconds(10);
    /** Permission bits of a new region. */
    std::uint32_t mode = 0600;
    /** Its group. */
    std::uint32_t group = SHMKIT_GROUP_SAME;
    /** Whose region may be opened: SHMKIT_OWNER_SELF, SHMKIT_OWNER_ANY, or a user id. */
    std::uint32_t owner = SHMKIT_OWNER_SELF;
    space_policy space = space_policy::reserve;
    huge_page_policy huge_pages = huge_page_policy::none;
    /** Map it for reading only. */
    bool read_only = false;
    /** Without a header: what other software made, or will open. */
    bool raw = false;
    /** gc() leaves it alone when nobody has it open. */
    bool persistent = false;

    /** The same for the C API. */
    shmkit_region_options_t to_c() const noexcept
    {
        shmkit_region_options_t c = SHMKIT_REGION_OPTIONS_INIT;
        c.size = size;
        c.max_size = max_size;
        c.layout = layout;
        if (timeout == std::chrono::nanoseconds::max())
            c.timeout_ns = SHMKIT_TIMEOUT_FOREVER;
        else if (timeout.count() > 0)
            c.timeout_ns = static_cast<std::uint64_t>(timeout.count());
        else
            c.timeout_ns = SHMKIT_TIMEOUT_NO_WAIT;
        c.mode = mode;
        c.group = group;
        c.owner = owner;
        c.space = static_cast<std::int32_t>(space);
        c.huge_pages = static_cast<std::int32_t>(huge_pages);
        c.read_only = read_only ? 1 : 0;
        c.raw = raw ? 1 : 0;
        c.persistent = persistent ? 1 : 0;
        return c;
    }
};

/** A terminated string from either of its two sources; only for the duration of a call. */
class address_string {
public:
    address_string(const char *text) noexcept : text_(text) {}
    /** A string with a NUL inside names nothing. */
    address_string(const std::string &text) noexcept
        : text_(std::strlen(text.c_str()) == text.size() ? text.c_str() : "")
    {
    }
    const char *c_str() const noexcept { return text_; }

private:
    const char *text_;
};

/** Says that a region is created without work of its own: its data is zeros. */
struct no_init {};

// ------------------------------------------------------------------------------------------------ callables from C

namespace detail {

/** Runs a callable for the C library, and keeps an exception until the library has returned. */
class contained {
public:
    /** What `work` gives; false when it throws. A callable without a result succeeds. */
    template <class Work> bool run(Work &&work) noexcept
    {
#if SHMKIT_DETAIL_EXCEPTIONS
        try {
            return answer_of(work);
        } catch (...) {
            thrown_ = std::current_exception();
            return false;
        }
#else
        return answer_of(work);
#endif
    }

    /** Lets the exception go on. */
    void rethrow()
    {
#if SHMKIT_DETAIL_EXCEPTIONS
        if (thrown_ != nullptr)
            std::rethrow_exception(std::exchange(thrown_, nullptr));
#endif
    }

private:
    template <class Work> static bool answer_of(Work &work)
    {
        using given = decltype(work());
        static_assert(std::is_void_v<given> || std::is_same_v<given, bool>,
                      "the callable returns nothing, or a bool: true when all is well and it goes on");
        if constexpr (std::is_void_v<given>) {
            work();
            return true;
        } else {
            return work();
        }
    }

#if SHMKIT_DETAIL_EXCEPTIONS
    std::exception_ptr thrown_;
#endif
};

/** A callable that is shown items, as a C callback and its user pointer. */
template <class Item, class Callable> class visitor {
public:
    explicit visitor(Callable &callable) noexcept : callable_(callable) {}

    static int visit(const Item *item, void *user) noexcept
    {
        visitor &self = *static_cast<visitor *>(user);
        return self.work_.run([&] { return self.callable_(*item); }) ? 0 : 1;
    }

    void rethrow() { work_.rethrow(); }

private:
    Callable &callable_;
    contained work_;
};

/** Whether new memory, which is zeros, is not yet what a new T is. */
template <class T> constexpr bool is_constructed() noexcept
{
    if constexpr (std::is_void_v<T>)
        return false;
    else
        return std::is_default_constructible_v<T> && !std::is_trivially_default_constructible_v<T>;
}

/** What a creator does with the data before anybody else sees it: T is constructed, then the callable runs. */
template <class T, class Init> class initialiser {
public:
    static constexpr bool is_needed = !std::is_same_v<std::remove_cv_t<Init>, no_init> || is_constructed<T>();

    explicit initialiser(Init &init) noexcept : init_(init) {}

    static int run(void *data, std::size_t size, void *user) noexcept
    {
        initialiser &self = *static_cast<initialiser *>(user);
        return self.work_.run([&] { return self.start(data, size); }) ? 0 : 1;
    }

    void rethrow() { work_.rethrow(); }

private:
    auto start(void *data, std::size_t size)
    {
        if constexpr (is_constructed<T>())
            ::new (data) T();
        if constexpr (std::is_same_v<std::remove_cv_t<Init>, no_init>)
            static_cast<void>(size);
        else if constexpr (std::is_void_v<T>)
            return init_(data, size);
        else if constexpr (std::is_invocable_v<Init &, T &, std::size_t>)
            return init_(*static_cast<T *>(data), size);
        else
            return init_(*static_cast<T *>(data));
    }

    Init &init_;
    contained work_;
};

/** Whether std::data() and std::size() say where the bytes of a value are. */
template <class R, class = void> struct is_contiguous : std::false_type {};
template <class R>
struct is_contiguous<R, std::void_t<decltype(std::data(std::declval<R &>())), decltype(std::size(std::declval<R &>()))>>
    : std::true_type {};

/** Whether values of a type are their bytes, in every process. */
template <class T> constexpr void require_bytes() noexcept
{
    static_assert(!std::is_pointer_v<T>, "a pointer means nothing in another process: copy what it points to");
    static_assert(std::is_trivially_copyable_v<T>, "only trivially copyable values can be copied as bytes");
}

} // namespace detail

// ------------------------------------------------------------------------------------------------ regions

template <class T> class typed_region;

/**
 * A scope in which the program touches the data by pointer: see shmkit_region_access_begin(). finish() says whether
 * what was read in it is to be believed; the destructor ends the scope without a word. Not longer than its region.
 */
class scoped_access {
public:
    scoped_access(scoped_access &&other) noexcept
        : handle_(std::exchange(other.handle_, nullptr)), data_(other.data_), size_(other.size_)
    {
    }
    scoped_access &operator=(scoped_access &&other) noexcept
    {
        scoped_access taken(std::move(other));
        std::swap(handle_, taken.handle_);
        std::swap(data_, taken.data_);
        std::swap(size_, taken.size_);
        return *this;
    }
    ~scoped_access()
    {
        if (handle_ != nullptr)
            shmkit_region_access_end(handle_);
    }

    void *data() const noexcept { return data_; }

    /** Bytes, when the scope began. */
    std::size_t size() const noexcept { return size_; }

    /** Ends the scope. SHMKIT_ERR_TRUNCATED: the memory went away meanwhile. Once; later calls say "done". */
    result<void> finish()
    {
        if (handle_ == nullptr)
            return {};
        return detail::done(shmkit_region_access_end(std::exchange(handle_, nullptr)));
    }

private:
    friend class region;
    scoped_access(shmkit_region_t *handle, void *data, std::size_t size) noexcept
        : handle_(handle), data_(data), size_(size)
    {
    }

    shmkit_region_t *handle_;
    void *data_;
    std::size_t size_;
};

/**
 * An open region, or none. Closes it at the end of its life, and never removes its name: that is unlink().
 *
 * create(), open(), open_or_create() and recv() give a region of bytes; with a type, as open<telemetry>(), they give a
 * typed_region<telemetry>, whose layout was checked against the header before anything was mapped. With a const type
 * the region is mapped for reading only.
 */
class region {
    /** What create<T>() and the others give. */
    template <class T> struct given {
        using type = typed_region<T>;
    };

public:
    template <class T> using region_of = typename given<T>::type;

    /** No region: every operation on it is SHMKIT_ERR_BAD_HANDLE. */
    region() noexcept = default;

    /** Takes over a handle of the C API. */
    explicit region(shmkit_region_t *handle) noexcept : handle_(handle)
    {
        if (handle != nullptr)
            data_ = shmkit_region_data(handle);
    }

    region(region &&other) noexcept { swap(other); }
    region &operator=(region &&other) noexcept
    {
        region taken(std::move(other));
        swap(taken);
        return *this;
    }
    ~region() { shmkit_region_close(handle_); }

    void swap(region &other) noexcept
    {
        std::swap(handle_, other.handle_);
        std::swap(data_, other.data_);
        std::swap(created_, other.created_);
        const void *mine = checked_.load(std::memory_order_relaxed);
        checked_.store(other.checked_.load(std::memory_order_relaxed), std::memory_order_relaxed);
        other.checked_.store(mine, std::memory_order_relaxed);
    }
    friend void swap(region &one, region &other) noexcept { one.swap(other); }

    /**
     * Creates a region. See shmkit_region_create().
     *
     * `init` fills it before anybody else sees it: init(void *data, std::size_t size), or with a type
     * init(T &value) or init(T &value, std::size_t size). It returns nothing, or a bool: false undoes the creation
     * (SHMKIT_ERR_CALLBACK). An exception undoes it too, and goes on. The data is zeros before; a T whose default
     * constructor does anything is constructed first.
     */
    template <class T = void, class Init = no_init>
    static result<region_of<T>> create(address_string address, const options &wanted, Init &&init = {})
    {
        static_assert(!std::is_const_v<T>, "a region that its creator may not write would stay empty for ever");
        return make<T>(wanted, init, true, [&](const auto *c, auto **handle, bool *created) {
            *created = true;
            return shmkit_region_create(address.c_str(), c, handle);
        });
    }

    /** Creates a region of the size of its type, all else as usual. */
    template <class T> static result<region_of<T>> create(address_string address)
    {
        static_assert(!std::is_void_v<T>, "name a type, or pass options with a size");
        return create<T>(address, options());
    }

    /** Opens an existing region. See shmkit_region_open(). */
    template <class T = void>
    static result<region_of<T>> open(address_string address, const options &wanted = options())
    {
        no_init nothing;
        return make<T>(wanted, nothing, false, [&](const auto *c, auto **handle, bool *) {
            return shmkit_region_open(address.c_str(), c, handle);
        });
    }

    /** Opens a region, or creates it: created() tells. See shmkit_region_open_or_create(), and create() for `init`. */
    template <class T = void, class Init = no_init>
    static result<region_of<T>> open_or_create(address_string address, const options &wanted, Init &&init = {})
    {
        static_assert(!std::is_const_v<T>, "a region that its creator may not write would stay empty for ever");
        return make<T>(wanted, init, true, [&](const auto *c, auto **handle, bool *created) {
            return shmkit_region_open_or_create(address.c_str(), c, handle, created);
        });
    }

    /** Opens a region, or creates it with the size of its type, all else as usual. */
    template <class T> static result<region_of<T>> open_or_create(address_string address)
    {
        static_assert(!std::is_void_v<T>, "name a type, or pass options with a size");
        return open_or_create<T>(address, options());
    }

    /**
     * Receives a region that a peer sent. See shmkit_region_recv(). One that was sent for reading only is
     * SHMKIT_ERR_ACCESS for recv<T>(): say recv<const T>().
     */
    template <class T = void> static result<region_of<T>> recv(int socket, const options &wanted = options())
    {
        no_init nothing;
        auto received = make<T>(wanted, nothing, false, [&](const auto *c, auto **handle, bool *) {
            return shmkit_region_recv(socket, c, handle);
        });
        if constexpr (!std::is_void_v<T> && !std::is_const_v<T>) {
            if (received) {
                const auto stat = received->stat();
                if (!stat)
                    return stat.error();
                if (stat->read_only != 0)
                    return received->template refuse_writing<T>("recv");
            }
        }
        return received;
    }

    /** Whether there is an open region. */
    explicit operator bool() const noexcept { return handle_ != nullptr; }

    /** Whether the call that gave this object created the region. */
    bool created() const noexcept { return created_; }

    /** The data; never moves while the region is open. nullptr when there is none. No call. */
    void *data() const noexcept { return data_; }

    /** Bytes of data, as large as any process has made it; 0 when there is none. See shmkit_region_size(). */
    std::size_t size() const noexcept { return handle_ != nullptr ? shmkit_region_size(handle_) : 0; }

    /**
     * The data as a T, once it is proved to be one: name, version, size and alignment of the type are compared with
     * what the region was made for. SHMKIT_ERR_LAYOUT when they differ; SHMKIT_ERR_ACCESS for a T that is not const in
     * a region for reading only. The same T again costs no call.
     */
    template <class T> result<T *> as() const
    {
        constexpr shmkit_layout_t mine = detail::layout_of<T>();
        constexpr const void *tag = &detail::type_tag<T>;
        if (handle_ == nullptr || checked_.load(std::memory_order_relaxed) != tag) {
            const auto stat = this->stat();
            if (!stat)
                return stat.error();
            if (auto why = differs(mine, detail::kept_name(mine.name), *stat))
                return std::move(*why);
            if (!std::is_const_v<T> && stat->read_only != 0)
                return refuse_writing<T>("as");
            checked_.store(tag, std::memory_order_relaxed);
        }
        return static_cast<T *>(data_);
    }

    /**
     * The data as a T on the program's word: for raw regions, which have no header. Only the size is checked:
     * SHMKIT_ERR_PAST_END.
     */
    template <class T> result<T *> as_unchecked() const
    {
        static_assert(std::is_standard_layout_v<T> && std::is_trivially_destructible_v<T>,
                      "a type in a region must have standard layout and need no destructor");
        const auto stat = this->stat();
        if (!stat)
            return stat.error();
        if (stat->size < sizeof(T))
            return own_failure(SHMKIT_ERR_PAST_END, ENXIO, "as_unchecked",
                               "ENXIO: the region has " + std::to_string(stat->size) + " bytes, and the type has " +
                                   std::to_string(sizeof(T)) + "; use the type that is in it");
        if (!std::is_const_v<T> && stat->read_only != 0)
            return refuse_writing<T>("as_unchecked");
        return static_cast<T *>(data_);
    }

    /** See shmkit_region_grow(). */
    result<void> grow(std::uint64_t new_size) { return detail::done(shmkit_region_grow(handle_, new_size)); }

    /** All of it, or a range. See shmkit_region_sync(). */
    result<void> sync(sync_level level, std::size_t offset = 0, std::size_t length = SHMKIT_TO_END)
    {
        return detail::done(shmkit_region_sync(handle_, offset, length, static_cast<std::int32_t>(level)));
    }

    /** All of it, or a range: PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE. See shmkit_region_protect(). */
    result<void> protect(int prot, std::size_t offset = 0, std::size_t length = SHMKIT_TO_END)
    {
        return detail::done(shmkit_region_protect(handle_, offset, length, prot));
    }

    /** All of it, or a range: one of MADV_. See shmkit_region_advise(). */
    result<void> advise(int advice, std::size_t offset = 0, std::size_t length = SHMKIT_TO_END)
    {
        return detail::done(shmkit_region_advise(handle_, offset, length, advice));
    }

    /** All of it, or a range. See shmkit_region_lock_memory(). */
    result<void> lock_memory(std::size_t offset = 0, std::size_t length = SHMKIT_TO_END)
    {
        return detail::done(shmkit_region_lock_memory(handle_, offset, length));
    }

    /** All of it, or a range. See shmkit_region_unlock_memory(). */
    result<void> unlock_memory(std::size_t offset = 0, std::size_t length = SHMKIT_TO_END)
    {
        return detail::done(shmkit_region_unlock_memory(handle_, offset, length));
    }

    /** See shmkit_region_stat(). */
    result<shmkit_region_stat_t> stat() const
    {
        shmkit_region_stat_t found = SHMKIT_REGION_STAT_INIT;
        const shmkit_status_t status = shmkit_region_stat(handle_, &found);
        if (status != SHMKIT_OK)
            return failure::last(status);
        return found;
    }

    /** `length` bytes into the region. See shmkit_region_copy_in(). */
    result<void> copy_in(std::size_t offset, const void *from, std::size_t length)
    {
        return detail::done(shmkit_region_copy_in(handle_, offset, from, length));
    }

    /**
     * A trivially copyable value, or all elements of whatever has std::data() and std::size() (an array, a vector, a
     * span; a string literal with its NUL), into the region. `offset` is in bytes.
     */
    template <class Source> result<void> copy_in(std::size_t offset, const Source &from)
    {
        if constexpr (detail::is_contiguous<const Source>::value) {
            using element = std::remove_cv_t<std::remove_pointer_t<decltype(std::data(from))>>;
            detail::require_bytes<element>();
            return copy_in(offset, std::data(from), std::size(from) * sizeof(element));
        } else {
            detail::require_bytes<Source>();
            return copy_in(offset, std::addressof(from), sizeof from);
        }
    }

    /** `length` bytes out of the region. See shmkit_region_copy_out(). */
    result<void> copy_out(std::size_t offset, void *to, std::size_t length) const
    {
        return detail::done(shmkit_region_copy_out(handle_, offset, to, length));
    }

    /** A trivially copyable value, or as many elements as there are in an array, vector or span, out of the region. */
    template <class Target> result<void> copy_out(std::size_t offset, Target &&to) const
    {
        using bare = std::remove_reference_t<Target>;
        if constexpr (detail::is_contiguous<bare>::value) {
            using element = std::remove_pointer_t<decltype(std::data(to))>;
            static_assert(!std::is_const_v<element>, "what is copied to cannot be const");
            detail::require_bytes<element>();
            return copy_out(offset, std::data(to), std::size(to) * sizeof(element));
        } else {
            static_assert(std::is_lvalue_reference_v<Target> && !std::is_const_v<bare>,
                          "what is copied to is a variable that is not const");
            detail::require_bytes<bare>();
            return copy_out(offset, std::addressof(to), sizeof to);
        }
    }

    /** A copy of the value at `offset`. */
    template <class T> result<T> copy_out(std::size_t offset) const
    {
        detail::require_bytes<T>();
        static_assert(!detail::is_contiguous<T>::value || std::is_aggregate_v<T>, "a view owns no memory to copy to");
        T value{};
        const shmkit_status_t status = shmkit_region_copy_out(handle_, offset, std::addressof(value), sizeof value);
        if (status != SHMKIT_OK)
            return failure::last(status);
        return value;
    }

    /** Begins a scope in which the program touches the data by pointer. See shmkit_region_access_begin(). */
    result<scoped_access> access()
    {
        void *data = nullptr;
        std::size_t size = 0;
        const shmkit_status_t status = shmkit_region_access_begin(handle_, &data, &size);
        if (status != SHMKIT_OK)
            return failure::last(status);
        return scoped_access(handle_, data, size);
    }

    /** Removes the name. See shmkit_region_unlink(). */
    result<void> unlink() { return detail::done(shmkit_region_unlink(handle_)); }

    /** Sends it over a UNIX socket. See shmkit_region_send(). */
    result<void> send(int socket, send_access allowed) const
    {
        return detail::done(shmkit_region_send(handle_, socket, static_cast<std::int32_t>(allowed)));
    }

    /** A combination of SHMKIT_SEAL_. See shmkit_region_seal(). */
    result<void> seal(std::uint32_t seals) { return detail::done(shmkit_region_seal(handle_, seals)); }

    /**
     * Shows who has it open: each(const shmkit_participant_t &), which returns nothing, or a bool: false stops.
     * See shmkit_region_participants().
     */
    template <class Callable> result<void> participants(Callable &&each) const
    {
        using visitor_type = detail::visitor<shmkit_participant_t, std::remove_reference_t<Callable>>;
        visitor_type visitor(each);
        const shmkit_status_t status = shmkit_region_participants(handle_, &visitor_type::visit, &visitor);
        visitor.rethrow();
        return detail::done(status);
    }

    /** The address string in its canonical form; empty when there is none. */
    std::string address() const
    {
        const char *text = handle_ != nullptr ? shmkit_region_address(handle_) : nullptr;
        return text != nullptr ? text : "";
    }

    /** The descriptor, which stays the library's; -1 where there is none. See shmkit_region_fd(). */
    int fd() const noexcept { return handle_ != nullptr ? shmkit_region_fd(handle_) : -1; }

    /** Closes it now. The destructor does the same without a word. */
    result<void> close()
    {
        shmkit_region_t *handle = release();
        return detail::done(shmkit_region_close(handle));
    }

    /** The handle, for the C API; it stays this object's. */
    shmkit_region_t *handle() const noexcept { return handle_; }

    /** Gives the handle away: the caller closes it. */
    shmkit_region_t *release() noexcept
    {
        data_ = nullptr;
        created_ = false;
        checked_.store(nullptr, std::memory_order_relaxed);
        return std::exchange(handle_, nullptr);
    }

private:
    /** Opens or creates by `call`: (options, where the handle goes, where "created" goes), which gives a status. */
    template <class T, class Init, class Call>
    static result<region_of<T>> make(const options &wanted, Init &init, bool creates, Call &&call)
    {
        using bare = std::remove_cv_t<T>;
        using start = detail::initialiser<bare, Init>;
        shmkit_region_options_t c = wanted.to_c();
        if constexpr (!std::is_void_v<T>) {
            c.layout = detail::layout_of<T>();
            if (c.size == 0 || (!creates && c.size < sizeof(T)))
                c.size = sizeof(T);
            if (std::is_const_v<T>)
                c.read_only = 1;
        }
        start initialiser(init);
        if (start::is_needed && creates) {
            c.init = &start::run;
            c.init_user = &initialiser;
        }
        shmkit_region_t *handle = nullptr;
        bool created = false;
        const shmkit_status_t status = call(&c, &handle, &created);
        initialiser.rethrow();
        if (status != SHMKIT_OK)
            return failure::last(status);
        region_of<T> made{region(handle)};
        made.created_ = created;
        return made;
    }

    failure own_failure(shmkit_status_t status, int errno_value, const char *call, const std::string &words) const
    {
        std::string message = std::string("shmkit::region::") + call + "(\"" + address() + "\"): " + words;
        return failure(status, errno_value, std::move(message));
    }

    template <class T> failure refuse_writing(const char *call) const
    {
        return own_failure(SHMKIT_ERR_ACCESS, EACCES, call,
                           "EACCES: the region is open for reading only, and the type is not const; "
                           "ask for the const type");
    }

    /** What is different between a program's type and a region's, if anything. */
    std::optional<failure> differs(const shmkit_layout_t &mine, const detail::layout_name &name,
                                   const shmkit_region_stat_t &theirs) const
    {
        const auto refuse = [&](const std::string &words) {
            return own_failure(SHMKIT_ERR_LAYOUT, EINVAL, "as", "EINVAL: " + words);
        };
        if (theirs.raw != 0)
            return refuse("a raw region has no header that names its type; use as_unchecked, on your own word");
        if (theirs.layout_name[0] == '\0')
            return refuse("the region was made without naming a type; use as_unchecked, on your own word");
        if (std::strcmp(theirs.layout_name, name.data()) != 0)
            return refuse(std::string("the region was made for \"") + theirs.layout_name +
                          "\", and this program's type is \"" + name.data() +
                          "\"; use the type that it was made for");
        const auto number = [&](const char *what, std::uint64_t found, std::uint64_t expected) {
            return refuse(std::string("the ") + what + " of \"" + name.data() + "\" is " + std::to_string(found) +
                          " in the region and " + std::to_string(expected) +
                          " in this program; build both programs from the same definition; give a changed definition "
                          "a new version");
        };
        if (theirs.layout_version != mine.version)
            return number("version", theirs.layout_version, mine.version);
        if (theirs.layout_size != mine.size)
            return number("size in bytes", theirs.layout_size, mine.size);
        if (theirs.layout_alignment != mine.alignment)
            return number("alignment in bytes", theirs.layout_alignment, mine.alignment);
        if (theirs.size < mine.size)
            return refuse("the region is smaller than its type");
        return std::nullopt;
    }

    shmkit_region_t *handle_ = nullptr;
    void *data_ = nullptr;
    bool created_ = false;
    /** The tag of the type that as() found right. */
    mutable std::atomic<const void *> checked_{nullptr};
};

template <> struct region::given<void> {
    using type = region;
};

/**
 * A region whose data begins with a T: a region, and a pointer to that T. Made by region::open<T>() and the others,
 * which have checked it. T may be const. Other processes see the T too: what they may do with it at the same time is
 * up to T, as with threads (std::atomic members that are lock-free, for example).
 */
template <class T> class typed_region : public region {
public:
    using element_type = T;

    /** No region. */
    typed_region() noexcept = default;

    T *get() const noexcept { return static_cast<T *>(data()); }
    T &operator*() const noexcept { return *get(); }
    T *operator->() const noexcept { return get(); }

private:
    friend class region;
    explicit typed_region(region &&checked) noexcept : region(std::move(checked)) {}
};

// ------------------------------------------------------------------------------------------------ housekeeping

/** Removes the name of the region that an address leads to now. See shmkit_unlink(). */
inline result<void> unlink(address_string address) { return detail::done(shmkit_unlink(address.c_str())); }

/** Whether nobody has the region of this address open. See shmkit_region_is_orphan(). */
inline result<answer> is_orphan(address_string address)
{
    std::int32_t found = SHMKIT_ANSWER_UNKNOWN;
    const shmkit_status_t status = shmkit_region_is_orphan(address.c_str(), &found);
    if (status != SHMKIT_OK)
        return failure::last(status);
    return static_cast<answer>(found);
}

/**
 * Shows shared memory objects: each(const shmkit_object_t &), which returns nothing, or a bool: false stops. `what`
 * combines SHMKIT_LIST_. See shmkit_list().
 */
template <class Callable> result<void> list(std::uint32_t what, Callable &&each)
{
    using visitor_type = detail::visitor<shmkit_object_t, std::remove_reference_t<Callable>>;
    visitor_type visitor(each);
    const shmkit_status_t status = shmkit_list(what, &visitor_type::visit, &visitor);
    visitor.rethrow();
    return detail::done(status);
}

/** Shows all shared memory objects. */
template <class Callable> result<void> list(Callable &&each)
{
    return list(SHMKIT_LIST_ALL, std::forward<Callable>(each));
}

/** Finds, and if wanted removes, what dead processes left; shows it to `each`, as list() does. Gives the number. */
template <class Callable> result<std::size_t> gc(gc_mode mode, Callable &&each)
{
    using visitor_type = detail::visitor<shmkit_object_t, std::remove_reference_t<Callable>>;
    visitor_type visitor(each);
    std::size_t count = 0;
    const shmkit_status_t status = shmkit_gc(static_cast<std::int32_t>(mode), &visitor_type::visit, &visitor, &count);
    visitor.rethrow();
    if (status != SHMKIT_OK)
        return failure::last(status);
    return count;
}

/** The same without showing it. See shmkit_gc(). */
inline result<std::size_t> gc(gc_mode mode)
{
    std::size_t count = 0;
    const shmkit_status_t status = shmkit_gc(static_cast<std::int32_t>(mode), nullptr, nullptr, &count);
    if (status != SHMKIT_OK)
        return failure::last(status);
    return count;
}

/** The handler of SIGBUS that turns a touch of truncated memory into an error; for the whole process. */
namespace guard {

/** See shmkit_guard_enable(). */
inline result<void> enable() { return detail::done(shmkit_guard_enable()); }

/** See shmkit_guard_disable(). */
inline result<void> disable() { return detail::done(shmkit_guard_disable()); }

} // namespace guard

/** The limits of shared memory on this system. See shmkit_limits(). */
inline result<shmkit_limits_t> limits()
{
    shmkit_limits_t found = SHMKIT_LIMITS_INIT;
    const shmkit_status_t status = shmkit_limits(&found);
    if (status != SHMKIT_OK)
        return failure::last(status);
    return found;
}

// ------------------------------------------------------------------------------------------------ synchronisation

/*
 * Locks and their kin, to be placed in the program's own struct in a region, or in any shared memory:
 *
 *     struct shared {
 *         shmkit::mutex lock;
 *         shmkit::condition_variable changed;
 *         shmkit::counting_semaphore items{0};
 *         int count;
 *     };
 *     SHMKIT_REGION_TYPE(shared, 1);
 *
 *     auto memory = shmkit::region::open_or_create<shared>("posix:/shared").value();   // the creator constructs it
 *     std::lock_guard held(memory->lock);
 *     memory->count++;
 *
 * They are the objects of shmkit.h, byte for byte: a C program with the same struct shares them (native_handle() gives
 * the address for the C API). Constructors initialise, so exactly one process constructs: the creator of the region,
 * before anybody else sees it. Opening constructs nothing. They are neither copied nor moved: waiters and the kernel
 * know them by their place. Destructors do nothing, on purpose: a process that leaves must not take from the others
 * what they hold, and nobody runs the destructors of a region. destroy() makes every later use an error.
 *
 * Errors. The members whose names the standard gives (lock, try_lock, wait, acquire, ...) have its signatures, so that
 * its guards work, and throw shmkit::error, as value() does; without exceptions they end the program with the message.
 * With shmkit::as_result as the last argument they give a result instead. What the standard does not name gives
 * results. An unlock() by a thread that does not hold it is an error too; in a guard's destructor it ends the program.
 *
 * The death of a holder. When the last holder died in the midst of its work, what the lock guards is perhaps half
 * changed. Nobody shall use that by accident, so every plain lock() throws shmkit::owner_died, **with the lock given
 * back**: a std::lock_guard whose constructor throws will never unlock, and one that is told by a return value has none
 * to look at. The damage stays noted, and whoever comes next is told as well, until somebody repairs it. That is done
 * by whoever passes a repair:
 *
 *     auto held = memory->lock.guard([&] { memory->count = recount(); });     // a std::unique_lock
 *
 * It runs with the lock held (of a shared_mutex: for writing), only when a holder died, and says by returning that all
 * is whole again; by returning false that it cannot be repaired: the lock is abandoned, and everybody, now and later,
 * gets SHMKIT_ERR_NOT_RECOVERABLE; by an exception that it does not know: the lock is given back as damaged as it was.
 * Or by hand: lock(as_result) gives acquired::owner_died with the lock held; then consistent() or abandon(), unlock().
 * Timed and try forms do as lock() does. condition_variable::wait() throws owner_died with the lock held by its
 * std::unique_lock, which the standard demands of it and which gives it back.
 */

/** The last argument of a member that shall give its errors as a result instead of throwing them. */
struct as_result_t {
    explicit as_result_t() = default;
};
inline constexpr as_result_t as_result{};

/** How a lock was had. */
enum class acquired : std::int32_t {
    /** As it should be. */
    clean,
    /** The last holder died; the lock is held. Repair what it guards, then consistent() or abandon(). */
    owner_died,
};

namespace detail {

/** Nanoseconds for the C API, rounded up; what is too long is for ever. */
template <class Rep, class Period> std::uint64_t timeout_of(const std::chrono::duration<Rep, Period> &time) noexcept
{
    using exact = std::chrono::duration<long double, std::nano>;
    const long double count = std::chrono::duration_cast<exact>(time).count();
    if (!(count > 0))
        return 0;
    if (count >= static_cast<long double>(std::chrono::nanoseconds::max().count()))
        return SHMKIT_TIMEOUT_FOREVER;
    const auto whole = static_cast<std::uint64_t>(count);
    return static_cast<long double>(whole) < count ? whole + 1 : whole;
}

/** Tries `attempt`, which takes a duration, until it says true or the moment has come: by any clock. */
template <class Clock, class Duration, class Attempt>
bool try_until(const std::chrono::time_point<Clock, Duration> &moment, Attempt &&attempt)
{
    for (;;) {
        const auto left = moment - Clock::now();
        if (attempt(left))
            return true;
        // The library counts by the monotonic clock, and another one may be set back meanwhile.
        if (Clock::now() >= moment)
            return false;
    }
}

/** What a call that waits gave: true when it has what it wanted, false when that did not come in time; else throws. */
inline bool in_time(shmkit_status_t status)
{
    if (status == SHMKIT_OK)
        return true;
    if (status == SHMKIT_ERR_TIMEOUT || status == SHMKIT_ERR_BUSY)
        return false;
    raise(failure::last(status));
}

/** The same for as_result. */
inline result<bool> in_time_result(shmkit_status_t status)
{
    if (status == SHMKIT_OK)
        return true;
    if (status == SHMKIT_ERR_TIMEOUT || status == SHMKIT_ERR_BUSY)
        return false;
    return failure::last(status);
}

inline void need_ok(shmkit_status_t status)
{
    if (status != SHMKIT_OK)
        raise(failure::last(status));
}

/** Gives back a lock that somebody died with, damaged as it is, when its scope ends before keep(). */
template <class Lock> class giving_back {
public:
    explicit giving_back(Lock &lock) noexcept : lock_(&lock) {}
    giving_back(const giving_back &) = delete;
    giving_back &operator=(const giving_back &) = delete;
    ~giving_back()
    {
        if (lock_ != nullptr)
            static_cast<void>(lock_->give_back());
    }
    void keep() noexcept { lock_ = nullptr; }

private:
    Lock *lock_;
};

/** What a lock call gave, where nobody would repair: OWNER_DIED gives the lock back and throws. */
template <class Lock> bool locked(Lock &lock, shmkit_status_t status)
{
    if (status == SHMKIT_ERR_OWNER_DIED) {
        giving_back<Lock> damaged(lock);
        raise(failure::last(status));
    }
    return in_time(status);
}

inline result<acquired> locked_result(shmkit_status_t status)
{
    if (status == SHMKIT_OK)
        return acquired::clean;
    if (status == SHMKIT_ERR_OWNER_DIED)
        return acquired::owner_died;
    return failure::last(status);
}

/** Has what a lock guards repaired, with the lock held. */
template <class Lock, class Repair> void mend(Lock &lock, Repair &repair)
{
    using given = decltype(repair());
    static_assert(std::is_void_v<given> || std::is_same_v<given, bool>,
                  "a repair returns nothing, or a bool: true when all is whole again, false when it never will be");
    giving_back<Lock> damaged(lock);
    bool whole = true;
    if constexpr (std::is_void_v<given>)
        repair();
    else
        whole = repair();
    if (whole) {
        lock.consistent().value();
        damaged.keep();
        return;
    }
    lock.abandon().value();
    damaged.keep();
    raise(failure(SHMKIT_ERR_NOT_RECOVERABLE, ENOTRECOVERABLE, shmkit_status_message(SHMKIT_ERR_NOT_RECOVERABLE)));
}

/** Neither copied nor moved. */
class in_place {
protected:
    constexpr in_place() noexcept = default;
    ~in_place() = default;

public:
    in_place(const in_place &) = delete;
    in_place &operator=(const in_place &) = delete;
};

} // namespace detail

/** shmkit_mutex_t. Lockable and TimedLockable: std::lock_guard, std::unique_lock and std::scoped_lock work. */
class mutex : detail::in_place {
public:
    using native_handle_type = shmkit_mutex_t *;

    /** See shmkit_mutex_init(). */
    mutex() { detail::need_ok(shmkit_mutex_init(&c_)); }

    /** Locks it. Throws owner_died, and has given it back, when its last holder died. See shmkit_mutex_lock(). */
    void lock() { detail::locked(*this, shmkit_mutex_lock(&c_)); }

    /** Locks it, and has `repair` make whole what it guards when its last holder died: see above. */
    template <class Repair, class = std::enable_if_t<std::is_invocable_v<Repair &>>> void lock(Repair &&repair)
    {
        const shmkit_status_t status = shmkit_mutex_lock(&c_);
        if (status == SHMKIT_ERR_OWNER_DIED)
            detail::mend(*this, repair);
        else
            detail::need_ok(status);
    }

    /** The same, held by a guard. */
    template <class Repair> [[nodiscard]] std::unique_lock<mutex> guard(Repair &&repair)
    {
        lock(repair);
        return std::unique_lock<mutex>(*this, std::adopt_lock);
    }

    /** False: another thread holds it. */
    bool try_lock() { return detail::locked(*this, shmkit_mutex_trylock(&c_)); }

    /** False: the time is over. */
    template <class Rep, class Period> bool try_lock_for(const std::chrono::duration<Rep, Period> &time)
    {
        return detail::locked(*this, shmkit_mutex_timedlock(&c_, detail::timeout_of(time)));
    }
    template <class Clock, class Duration> bool try_lock_until(const std::chrono::time_point<Clock, Duration> &moment)
    {
        return detail::try_until(moment, [this](auto left) { return this->try_lock_for(left); });
    }

    void unlock() { detail::need_ok(shmkit_mutex_unlock(&c_)); }

    /** With acquired::owner_died it is held too. */
    result<acquired> lock(as_result_t) { return detail::locked_result(shmkit_mutex_lock(&c_)); }

    /** SHMKIT_ERR_BUSY: another thread holds it. */
    result<acquired> try_lock(as_result_t) { return detail::locked_result(shmkit_mutex_trylock(&c_)); }

    /** SHMKIT_ERR_TIMEOUT: the time is over. */
    template <class Rep, class Period>
    result<acquired> try_lock_for(const std::chrono::duration<Rep, Period> &time, as_result_t)
    {
        return detail::locked_result(shmkit_mutex_timedlock(&c_, detail::timeout_of(time)));
    }

    result<void> unlock(as_result_t) { return detail::done(shmkit_mutex_unlock(&c_)); }

    /** After owner_died, with the lock held: all is whole again. See shmkit_mutex_consistent(). */
    result<void> consistent() { return detail::done(shmkit_mutex_consistent(&c_)); }

    /**
     * Gives it up for ever. See shmkit_mutex_abandon(). This unlocks it: a guard that holds it must be told, by its
     * release().
     */
    result<void> abandon() { return detail::done(shmkit_mutex_abandon(&c_)); }

    /** See shmkit_mutex_destroy(). */
    result<void> destroy() { return detail::done(shmkit_mutex_destroy(&c_)); }

    native_handle_type native_handle() noexcept { return &c_; }

private:
    friend class detail::giving_back<mutex>;
    shmkit_status_t give_back() noexcept { return shmkit_mutex_unlock(&c_); }

    shmkit_mutex_t c_;
};

/**
 * shmkit_rwlock_t. Lockable and SharedLockable, with times: std::shared_lock and the guards of a mutex work. A thread
 * that finds a dead writer has it for writing while it repairs, whichever way it asked.
 */
class shared_mutex : detail::in_place {
public:
    using native_handle_type = shmkit_rwlock_t *;

    /** See shmkit_rwlock_init(). */
    shared_mutex() { detail::need_ok(shmkit_rwlock_init(&c_)); }

    /** Locks it for writing. Throws owner_died, and has given it back, when a writer died. */
    void lock() { detail::locked(*this, shmkit_rwlock_write_lock(&c_)); }

    /** Locks it for writing, and has `repair` make whole what it guards when a writer died. */
    template <class Repair, class = std::enable_if_t<std::is_invocable_v<Repair &>>> void lock(Repair &&repair)
    {
        const shmkit_status_t status = shmkit_rwlock_write_lock(&c_);
        if (status == SHMKIT_ERR_OWNER_DIED)
            detail::mend(*this, repair);
        else
            detail::need_ok(status);
    }

    /** The same, held by a guard. */
    template <class Repair> [[nodiscard]] std::unique_lock<shared_mutex> guard(Repair &&repair)
    {
        lock(repair);
        return std::unique_lock<shared_mutex>(*this, std::adopt_lock);
    }

    /** False: another thread has it. */
    bool try_lock() { return detail::locked(*this, shmkit_rwlock_try_write_lock(&c_)); }

    /** False: the time is over. */
    template <class Rep, class Period> bool try_lock_for(const std::chrono::duration<Rep, Period> &time)
    {
        return detail::locked(*this, shmkit_rwlock_timed_write_lock(&c_, detail::timeout_of(time)));
    }
    template <class Clock, class Duration> bool try_lock_until(const std::chrono::time_point<Clock, Duration> &moment)
    {
        return detail::try_until(moment, [this](auto left) { return this->try_lock_for(left); });
    }

    void unlock() { detail::need_ok(shmkit_rwlock_unlock(&c_)); }

    /** Locks it for reading. Throws owner_died, and has given it back, when a writer died. */
    void lock_shared() { detail::locked(*this, shmkit_rwlock_read_lock(&c_)); }

    /** Locks it for reading. When a writer died it runs `repair`, with the lock held for writing, first. */
    template <class Repair, class = std::enable_if_t<std::is_invocable_v<Repair &>>> void lock_shared(Repair &&repair)
    {
        for (;;) {
            const shmkit_status_t status = shmkit_rwlock_read_lock(&c_);
            if (status != SHMKIT_ERR_OWNER_DIED)
                return detail::need_ok(status);
            detail::mend(*this, repair);
            unlock();
        }
    }

    /** The same, held by a guard. */
    template <class Repair> [[nodiscard]] std::shared_lock<shared_mutex> shared_guard(Repair &&repair)
    {
        lock_shared(repair);
        return std::shared_lock<shared_mutex>(*this, std::adopt_lock);
    }

    /** False: somebody writes, or waits to. */
    bool try_lock_shared() { return detail::locked(*this, shmkit_rwlock_try_read_lock(&c_)); }

    /** False: the time is over. */
    template <class Rep, class Period> bool try_lock_shared_for(const std::chrono::duration<Rep, Period> &time)
    {
        return detail::locked(*this, shmkit_rwlock_timed_read_lock(&c_, detail::timeout_of(time)));
    }
    template <class Clock, class Duration>
    bool try_lock_shared_until(const std::chrono::time_point<Clock, Duration> &moment)
    {
        return detail::try_until(moment, [this](auto left) { return this->try_lock_shared_for(left); });
    }

    void unlock_shared() { unlock(); }

    /** With acquired::owner_died it is held too. */
    result<acquired> lock(as_result_t) { return detail::locked_result(shmkit_rwlock_write_lock(&c_)); }

    /** SHMKIT_ERR_BUSY: another thread has it. */
    result<acquired> try_lock(as_result_t) { return detail::locked_result(shmkit_rwlock_try_write_lock(&c_)); }

    /** SHMKIT_ERR_TIMEOUT: the time is over. */
    template <class Rep, class Period>
    result<acquired> try_lock_for(const std::chrono::duration<Rep, Period> &time, as_result_t)
    {
        return detail::locked_result(shmkit_rwlock_timed_write_lock(&c_, detail::timeout_of(time)));
    }

    /** With acquired::owner_died it is held for writing. */
    result<acquired> lock_shared(as_result_t) { return detail::locked_result(shmkit_rwlock_read_lock(&c_)); }

    /** SHMKIT_ERR_BUSY: somebody writes, or waits to. */
    result<acquired> try_lock_shared(as_result_t)
    {
        return detail::locked_result(shmkit_rwlock_try_read_lock(&c_));
    }

    /** SHMKIT_ERR_TIMEOUT: the time is over. */
    template <class Rep, class Period>
    result<acquired> try_lock_shared_for(const std::chrono::duration<Rep, Period> &time, as_result_t)
    {
        return detail::locked_result(shmkit_rwlock_timed_read_lock(&c_, detail::timeout_of(time)));
    }

    /** Whichever way this thread has it. */
    result<void> unlock(as_result_t) { return detail::done(shmkit_rwlock_unlock(&c_)); }

    /** After owner_died, with the lock held: all is whole again. See shmkit_rwlock_consistent(). */
    result<void> consistent() { return detail::done(shmkit_rwlock_consistent(&c_)); }

    /** Gives it up for ever, and unlocks it. See shmkit_rwlock_abandon() and mutex::abandon(). */
    result<void> abandon() { return detail::done(shmkit_rwlock_abandon(&c_)); }

    /** See shmkit_rwlock_destroy(). */
    result<void> destroy() { return detail::done(shmkit_rwlock_destroy(&c_)); }

    native_handle_type native_handle() noexcept { return &c_; }

private:
    friend class detail::giving_back<shared_mutex>;
    shmkit_status_t give_back() noexcept { return shmkit_rwlock_unlock(&c_); }

    shmkit_rwlock_t c_;
};

/**
 * shmkit_cond_t, for a std::unique_lock<shmkit::mutex>. Wakes without a signal now and then, as the standard's: pass a
 * predicate, or call it in a loop.
 *
 * The wait throws owner_died when the last holder of the mutex died; `lock` holds it then, and damaged: let the
 * exception go, or repair and lock.mutex()->consistent(). After any other exception lock.owns_lock() tells whether
 * the mutex is held: it is not when it was abandoned (SHMKIT_ERR_NOT_RECOVERABLE).
 */
class condition_variable : detail::in_place {
public:
    using native_handle_type = shmkit_cond_t *;

    /** See shmkit_cond_init(). */
    condition_variable() { detail::need_ok(shmkit_cond_init(&c_)); }

    /** See shmkit_cond_signal(). */
    void notify_one() { detail::need_ok(shmkit_cond_signal(&c_)); }

    /** See shmkit_cond_broadcast(). */
    void notify_all() { detail::need_ok(shmkit_cond_broadcast(&c_)); }

    /** See shmkit_cond_wait(). */
    void wait(std::unique_lock<mutex> &lock) { wait_ns(lock, SHMKIT_TIMEOUT_FOREVER, as_result).value(); }

    /** Returns when holds() does. */
    template <class Predicate> void wait(std::unique_lock<mutex> &lock, Predicate holds)
    {
        while (!holds())
            wait(lock);
    }

    /** See shmkit_cond_timedwait(). */
    template <class Rep, class Period>
    std::cv_status wait_for(std::unique_lock<mutex> &lock, const std::chrono::duration<Rep, Period> &time)
    {
        return wait_ns(lock, detail::timeout_of(time), as_result).value();
    }

    /** Returns when holds() does, or the time is over: what holds() says then. */
    template <class Rep, class Period, class Predicate>
    bool wait_for(std::unique_lock<mutex> &lock, const std::chrono::duration<Rep, Period> &time, Predicate holds)
    {
        if (detail::timeout_of(time) == SHMKIT_TIMEOUT_FOREVER) {
            wait(lock, std::move(holds));
            return true;
        }
        // Up to 292 years: the sum below does not overflow before the machine has run for as long.
        const auto left = std::chrono::nanoseconds(static_cast<std::int64_t>(detail::timeout_of(time)));
        const auto now = std::chrono::steady_clock::now();
        if (left > std::chrono::steady_clock::time_point::max() - now) {
            wait(lock, std::move(holds));
            return true;
        }
        return wait_until(lock, now + left, std::move(holds));
    }

    template <class Clock, class Duration>
    std::cv_status wait_until(std::unique_lock<mutex> &lock,
                              const std::chrono::time_point<Clock, Duration> &moment)
    {
        static_cast<void>(wait_for(lock, moment - Clock::now()));
        return Clock::now() < moment ? std::cv_status::no_timeout : std::cv_status::timeout;
    }

    template <class Clock, class Duration, class Predicate>
    bool wait_until(std::unique_lock<mutex> &lock, const std::chrono::time_point<Clock, Duration> &moment,
                    Predicate holds)
    {
        while (!holds())
            if (wait_until(lock, moment) == std::cv_status::timeout)
                return holds();
        return true;
    }

    /** SHMKIT_ERR_OWNER_DIED: the last holder of the mutex died, and `lock` holds it. See the class. */
    result<void> wait(std::unique_lock<mutex> &lock, as_result_t)
    {
        const auto waited = wait_ns(lock, SHMKIT_TIMEOUT_FOREVER, as_result);
        return waited ? result<void>() : result<void>(waited.error());
    }

    /** The same, for a time. */
    template <class Rep, class Period>
    result<std::cv_status> wait_for(std::unique_lock<mutex> &lock, const std::chrono::duration<Rep, Period> &time,
                                    as_result_t)
    {
        return wait_ns(lock, detail::timeout_of(time), as_result);
    }

    /** See shmkit_cond_destroy(). */
    result<void> destroy() { return detail::done(shmkit_cond_destroy(&c_)); }

    native_handle_type native_handle() noexcept { return &c_; }

private:
    result<std::cv_status> wait_ns(std::unique_lock<mutex> &lock, std::uint64_t timeout, as_result_t)
    {
        if (!lock.owns_lock())
            return failure(SHMKIT_ERR_NOT_OWNER, EPERM,
                           "shmkit::condition_variable::wait(): EPERM: the lock that was passed holds no mutex");
        shmkit_mutex_t *held = lock.mutex()->native_handle();
        const shmkit_status_t status = timeout == SHMKIT_TIMEOUT_FOREVER ? shmkit_cond_wait(&c_, held)
                                                                         : shmkit_cond_timedwait(&c_, held, timeout);
        if (status == SHMKIT_OK)
            return std::cv_status::no_timeout;
        if (status == SHMKIT_ERR_TIMEOUT)
            return std::cv_status::timeout;
        failure why = failure::last(status);
        if (status == SHMKIT_ERR_NOT_RECOVERABLE || status == SHMKIT_ERR_NOT_OWNER)
            lock.release(); // the mutex is not this thread's any more, and its guard must not unlock it
        return why;
    }

    shmkit_cond_t c_;
};

/** shmkit_sem_t: a counting semaphore, whose permits belong to nobody. */
class counting_semaphore : detail::in_place {
public:
    using native_handle_type = shmkit_sem_t *;

    static constexpr std::ptrdiff_t max() noexcept { return SHMKIT_SEM_VALUE_MAX; }

    /** See shmkit_semaphore_init(). */
    explicit counting_semaphore(std::uint32_t value) { detail::need_ok(shmkit_semaphore_init(&c_, value)); }

    /** See shmkit_semaphore_wait(). */
    void acquire() { detail::need_ok(shmkit_semaphore_wait(&c_)); }

    /** False: there is no permit. */
    bool try_acquire() { return detail::in_time(shmkit_semaphore_trywait(&c_)); }

    /** False: the time is over. */
    template <class Rep, class Period> bool try_acquire_for(const std::chrono::duration<Rep, Period> &time)
    {
        return detail::in_time(shmkit_semaphore_timedwait(&c_, detail::timeout_of(time)));
    }
    template <class Clock, class Duration>
    bool try_acquire_until(const std::chrono::time_point<Clock, Duration> &moment)
    {
        return detail::try_until(moment, [this](auto left) { return this->try_acquire_for(left); });
    }

    /** Gives permits, one after another. See shmkit_semaphore_post(), which is for signal handlers. */
    void release(std::ptrdiff_t permits = 1)
    {
        for (; permits > 0; --permits)
            detail::need_ok(shmkit_semaphore_post(&c_));
    }

    result<void> acquire(as_result_t) { return detail::done(shmkit_semaphore_wait(&c_)); }
    result<bool> try_acquire(as_result_t) { return detail::in_time_result(shmkit_semaphore_trywait(&c_)); }
    template <class Rep, class Period>
    result<bool> try_acquire_for(const std::chrono::duration<Rep, Period> &time, as_result_t)
    {
        return detail::in_time_result(shmkit_semaphore_timedwait(&c_, detail::timeout_of(time)));
    }
    result<void> release(as_result_t) { return detail::done(shmkit_semaphore_post(&c_)); }

    /** See shmkit_semaphore_value(). */
    result<std::uint32_t> value()
    {
        std::uint32_t found = 0;
        const shmkit_status_t status = shmkit_semaphore_value(&c_, &found);
        if (status != SHMKIT_OK)
            return failure::last(status);
        return found;
    }

    /** See shmkit_semaphore_destroy(). */
    result<void> destroy() { return detail::done(shmkit_semaphore_destroy(&c_)); }

    native_handle_type native_handle() noexcept { return &c_; }

private:
    shmkit_sem_t c_;
};

/** shmkit_robust_sem_t: a semaphore whose permits are a thread's, and come back when it dies. */
class robust_semaphore : detail::in_place {
public:
    using native_handle_type = shmkit_robust_sem_t *;

    static constexpr std::ptrdiff_t max() noexcept { return SHMKIT_ROBUST_SEM_MAX; }

    /** See shmkit_robust_sem_init(). */
    explicit robust_semaphore(std::uint32_t permits) { detail::need_ok(shmkit_robust_sem_init(&c_, permits)); }

    /** See shmkit_robust_sem_wait(). */
    void acquire() { detail::need_ok(shmkit_robust_sem_wait(&c_)); }

    /** False: there is no permit. */
    bool try_acquire() { return detail::in_time(shmkit_robust_sem_trywait(&c_)); }

    /** False: the time is over. */
    template <class Rep, class Period> bool try_acquire_for(const std::chrono::duration<Rep, Period> &time)
    {
        return detail::in_time(shmkit_robust_sem_timedwait(&c_, detail::timeout_of(time)));
    }
    template <class Clock, class Duration>
    bool try_acquire_until(const std::chrono::time_point<Clock, Duration> &moment)
    {
        return detail::try_until(moment, [this](auto left) { return this->try_acquire_for(left); });
    }

    /** Gives back a permit of this thread. SHMKIT_ERR_NOT_OWNER: it has none. See shmkit_robust_sem_post(). */
    void release() { detail::need_ok(shmkit_robust_sem_post(&c_)); }

    result<void> acquire(as_result_t) { return detail::done(shmkit_robust_sem_wait(&c_)); }
    result<bool> try_acquire(as_result_t) { return detail::in_time_result(shmkit_robust_sem_trywait(&c_)); }
    template <class Rep, class Period>
    result<bool> try_acquire_for(const std::chrono::duration<Rep, Period> &time, as_result_t)
    {
        return detail::in_time_result(shmkit_robust_sem_timedwait(&c_, detail::timeout_of(time)));
    }
    result<void> release(as_result_t) { return detail::done(shmkit_robust_sem_post(&c_)); }

    /** The number of free permits. See shmkit_robust_sem_value(). */
    result<std::uint32_t> value()
    {
        std::uint32_t found = 0;
        const shmkit_status_t status = shmkit_robust_sem_value(&c_, &found);
        if (status != SHMKIT_OK)
            return failure::last(status);
        return found;
    }

    /** See shmkit_robust_sem_destroy(). */
    result<void> destroy() { return detail::done(shmkit_robust_sem_destroy(&c_)); }

    native_handle_type native_handle() noexcept { return &c_; }

private:
    shmkit_robust_sem_t c_;
};

/**
 * shmkit_barrier_t. A death among those who wait, or have joined, breaks it: everybody gets owner_died, with nothing
 * held, until one of them has called reset().
 */
class barrier : detail::in_place {
public:
    using native_handle_type = shmkit_barrier_t *;

    static constexpr std::ptrdiff_t max() noexcept { return SHMKIT_BARRIER_MAX; }

    /** See shmkit_barrier_init(). */
    explicit barrier(std::uint32_t threads) { detail::need_ok(shmkit_barrier_init(&c_, threads)); }

    /** Waits for all. True in one of them. See shmkit_barrier_wait(). */
    bool arrive_and_wait() { return arrive_and_wait(as_result).value(); }

    /** Nothing: the time is over, and this thread has not arrived. See shmkit_barrier_timedwait(). */
    template <class Rep, class Period>
    std::optional<bool> arrive_and_wait_for(const std::chrono::duration<Rep, Period> &time)
    {
        return arrive_and_wait_for(time, as_result).value();
    }

    result<bool> arrive_and_wait(as_result_t)
    {
        bool serial = false;
        const shmkit_status_t status = shmkit_barrier_wait(&c_, &serial);
        if (status != SHMKIT_OK)
            return failure::last(status);
        return serial;
    }
    template <class Rep, class Period>
    result<std::optional<bool>> arrive_and_wait_for(const std::chrono::duration<Rep, Period> &time, as_result_t)
    {
        bool serial = false;
        const shmkit_status_t status = shmkit_barrier_timedwait(&c_, detail::timeout_of(time), &serial);
        if (status == SHMKIT_OK)
            return std::optional<bool>(serial);
        if (status == SHMKIT_ERR_TIMEOUT || status == SHMKIT_ERR_BUSY)
            return std::optional<bool>();
        return failure::last(status);
    }

    /** See shmkit_barrier_join(). */
    result<void> join() { return detail::done(shmkit_barrier_join(&c_)); }

    /** See shmkit_barrier_leave(). */
    result<void> leave() { return detail::done(shmkit_barrier_leave(&c_)); }

    /** See shmkit_barrier_reset(). */
    result<void> reset() { return detail::done(shmkit_barrier_reset(&c_)); }

    /** See shmkit_barrier_destroy(). */
    result<void> destroy() { return detail::done(shmkit_barrier_destroy(&c_)); }

    native_handle_type native_handle() noexcept { return &c_; }

private:
    shmkit_barrier_t c_;
};

/** shmkit_once_t, for call_once(). All zeros, as new memory is, is one that nobody has begun. */
class once_flag : detail::in_place {
public:
    using native_handle_type = shmkit_once_t *;

    constexpr once_flag() noexcept : c_{} {}

    /** Waits until the work is done, or is the caller's to do: true; end() must follow. See shmkit_once_begin(). */
    result<bool> begin()
    {
        bool yours = false;
        const shmkit_status_t status = shmkit_once_begin(&c_, &yours);
        if (status != SHMKIT_OK)
            return failure::last(status);
        return yours;
    }

    /** After begin() gave true: the work is done, or could not be. See shmkit_once_end(). */
    result<void> end(bool done) { return detail::done(shmkit_once_end(&c_, done)); }

    native_handle_type native_handle() noexcept { return &c_; }

private:
    shmkit_once_t c_;
};

namespace detail {

/** Work that is done once, as a C callback and its user pointer. */
template <class Work> class once_work {
public:
    explicit once_work(Work &work) noexcept : work_(work) {}

    static int run(void *user) noexcept
    {
        once_work &self = *static_cast<once_work *>(user);
        return self.contained_.run(self.work_) ? 0 : 1;
    }

    void rethrow() { contained_.rethrow(); }

private:
    Work &work_;
    contained contained_;
};

} // namespace detail

/**
 * Calls work(arguments...) if nobody has done so for this flag, waits while another one does, and returns when it is
 * done. Who dies in the midst of it is followed by the next one, who does it from the beginning: the work must stand
 * that. It returns nothing, or a bool: false says that it could not be done (SHMKIT_ERR_CALLBACK); an exception says
 * so too, and goes on. The next one tries then. See shmkit_once_run().
 */
template <class Work, class... Arguments> void call_once(once_flag &flag, Work &&work, Arguments &&...arguments)
{
    auto bound = [&] { return std::invoke(std::forward<Work>(work), std::forward<Arguments>(arguments)...); };
    detail::once_work<decltype(bound)> once(bound);
    const shmkit_status_t status = shmkit_once_run(flag.native_handle(), &decltype(once)::run, &once);
    once.rethrow();
    detail::need_ok(status);
}

/** shmkit_event_t: what everything here waits on, for building more. */
class event_count : detail::in_place {
public:
    using native_handle_type = shmkit_event_t *;

    /** See shmkit_event_init(). */
    event_count() { detail::need_ok(shmkit_event_init(&c_)); }

    /** Gives the key to wait with: take it, look at what is waited for, wait. See shmkit_event_prepare(). */
    std::uint32_t prepare()
    {
        std::uint32_t key = 0;
        detail::need_ok(shmkit_event_prepare(&c_, &key));
        return key;
    }

    /** Waits for a notification since then; may return without. See shmkit_event_wait(). */
    void wait(std::uint32_t key) { detail::need_ok(shmkit_event_wait(&c_, key)); }

    /** False: the time is over. */
    template <class Rep, class Period> bool wait_for(std::uint32_t key, const std::chrono::duration<Rep, Period> &time)
    {
        return detail::in_time(shmkit_event_timedwait(&c_, key, detail::timeout_of(time)));
    }
    template <class Clock, class Duration>
    bool wait_until(std::uint32_t key, const std::chrono::time_point<Clock, Duration> &moment)
    {
        return detail::try_until(moment, [this, key](auto left) { return this->wait_for(key, left); });
    }

    /** Returns when holds() does, which looks at what others change before they notify. */
    template <class Predicate> void await(Predicate holds)
    {
        while (!holds()) {
            const std::uint32_t key = prepare();
            if (holds())
                return;
            wait(key);
        }
    }

    /** See shmkit_event_notify(). */
    void notify_one() { detail::need_ok(shmkit_event_notify(&c_, 1)); }
    void notify_all() { detail::need_ok(shmkit_event_notify(&c_, UINT32_MAX)); }
    void notify(std::uint32_t count) { detail::need_ok(shmkit_event_notify(&c_, count)); }

    result<void> notify(std::uint32_t count, as_result_t) { return detail::done(shmkit_event_notify(&c_, count)); }
    result<bool> wait(std::uint32_t key, as_result_t) { return detail::in_time_result(shmkit_event_wait(&c_, key)); }

    /** See shmkit_event_destroy(). */
    result<void> destroy() { return detail::done(shmkit_event_destroy(&c_)); }

    native_handle_type native_handle() noexcept { return &c_; }

private:
    shmkit_event_t c_;
};

namespace detail {

/** An object of C++ is the object of C, and can live in a region. */
template <class Cpp, class C> constexpr bool is_same_object() noexcept
{
    return sizeof(Cpp) == sizeof(C) && alignof(Cpp) == alignof(C) && std::is_standard_layout_v<Cpp> &&
           std::is_trivially_destructible_v<Cpp> && !std::is_copy_constructible_v<Cpp> &&
           !std::is_move_constructible_v<Cpp> && !std::is_copy_assignable_v<Cpp> && !std::is_move_assignable_v<Cpp>;
}
static_assert(is_same_object<mutex, shmkit_mutex_t>());
static_assert(is_same_object<shared_mutex, shmkit_rwlock_t>());
static_assert(is_same_object<condition_variable, shmkit_cond_t>());
static_assert(is_same_object<counting_semaphore, shmkit_sem_t>());
static_assert(is_same_object<robust_semaphore, shmkit_robust_sem_t>());
static_assert(is_same_object<barrier, shmkit_barrier_t>());
static_assert(is_same_object<once_flag, shmkit_once_t>());
static_assert(is_same_object<event_count, shmkit_event_t>());

} // namespace detail

// ------------------------------------------------------------------------------------------------ queues

/*
 * Messages between processes: a ring (one writes, one reads), a queue (many write, each message is read by one), a
 * broadcast (every reader sees every message) and a cell (the latest value alone).
 *
 *     struct sample { std::uint64_t number; double value; };
 *     SHMKIT_REGION_TYPE(sample, 1);
 *
 *     using samples = shmkit::queue<sample>;
 *     shmkit::options wanted;
 *     wanted.size = samples::size({});                                   // bytes for a queue of 1024
 *     auto memory = shmkit::region::open_or_create("posix:/samples", wanted, samples::maker({})).value();
 *
 *     auto queue = samples::attach(memory).value();
 *     queue.write(sample{1, 12.5}).value();                              // or in place: queue.reserve()
 *     for (const sample &one : queue.drain())
 *         use(one);
 *
 * The messages of ring<T>, queue<T>, broadcast<T> and cell<T> are trivially copyable objects T, whose name, version,
 * size and alignment the creator notes and whoever attaches has checked. With std::byte for T they are bytes of any
 * length, passed as spans: std::span in C++20, a small span of this header before.
 *
 * The ends are move-only. The C handle of each lies on the heap, since it must not move; destruction detaches it. One
 * thread at a time uses an end. What a function does stands in shmkit.h: write() is shmkit_ring_write(),
 * shmkit_queue_send(), shmkit_broadcast_write() or shmkit_cell_write(); take() is shmkit_ring_peek() or
 * shmkit_queue_take().
 *
 * How long: NAME() waits without end, NAME_for(time) as long as that, try_NAME() not at all. Of the last two a missing
 * message or room is no failure: they give false, or an empty optional. That nothing comes any more is one:
 * SHMKIT_ERR_CLOSED, code() == std::errc::broken_pipe.
 *
 * In place, without a copy: reserve() gives a reservation, which is published by commit() and given up by its
 * destructor; take() gives a taken message, which its destructor releases. Neither outlives its end.
 */

#if SHMKIT_DETAIL_SPAN
inline namespace with_std_span {

/** Elements that lie together. */
template <class T> using span = std::span<T>;
#else
inline namespace without_std_span {

/** Elements that lie together: as much of std::span as is needed here. */
template <class T> class span {
public:
    using element_type = T;
    using value_type = std::remove_cv_t<T>;
    using iterator = T *;

    constexpr span() noexcept = default;
    constexpr span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}
    template <std::size_t count> constexpr span(T (&array)[count]) noexcept : data_(array), size_(count) {}
    /** Whatever has data() and size(): arrays, vectors, strings, other spans. */
    template <class Container, class = std::enable_if_t<
                                   std::is_convertible_v<decltype(std::data(std::declval<Container &>())), T *> &&
                                   std::is_same_v<std::remove_cv_t<std::remove_pointer_t<
                                                      decltype(std::data(std::declval<Container &>()))>>,
                                                  value_type>>>
    constexpr span(Container &&from) noexcept : data_(std::data(from)), size_(std::size(from))
    {
    }

    constexpr T *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr std::size_t size_bytes() const noexcept { return size_ * sizeof(T); }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr T &operator[](std::size_t index) const noexcept { return data_[index]; }
    constexpr T *begin() const noexcept { return data_; }
    constexpr T *end() const noexcept { return data_ + size_; }
    constexpr span first(std::size_t count) const noexcept { return span(data_, count); }
    constexpr span subspan(std::size_t from) const noexcept { return span(data_ + from, size_ - from); }

private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};
#endif

/**
 * Shared memory in which one of them lies: all data of a region or a part of it, or, for rings and cells, any shared
 * mapping.
 */
class place {
public:
    place(const region &all) noexcept : region_(&all), data_(all.data()), size_(all.size()) {}
    place(const region &of, std::size_t offset, std::size_t size) noexcept
        : region_(&of), data_(static_cast<std::byte *>(of.data()) + offset), size_(size)
    {
        // A part that is not within the region is no memory at all.
        if (offset > of.size() || size > of.size() - offset)
            data_ = nullptr;
    }
    place(void *data, std::size_t size) noexcept : data_(data), size_(size) {}

    void *data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    const shmkit_region_t *region_handle() const noexcept { return region_ != nullptr ? region_->handle() : nullptr; }

private:
    const region *region_ = nullptr;
    void *data_;
    std::size_t size_;
};

/** What becomes of a message for which a queue has no room. */
enum class overflow : int {
    /** Who writes waits, as long as it may. */
    block = SHMKIT_OVERFLOW_BLOCK,
    /** It is refused at once, and counted. */
    refuse = SHMKIT_OVERFLOW_REFUSE,
    /** It is dropped, and counted; write() succeeds. */
    drop = SHMKIT_OVERFLOW_DROP,
};

/** What becomes of a message whose consumer died before it had released it. */
enum class delivery : int {
    /** Another consumer gets it. */
    at_least_once = SHMKIT_DELIVERY_AT_LEAST_ONCE,
    /** It is lost, and counted. */
    at_most_once = SHMKIT_DELIVERY_AT_MOST_ONCE,
};

/** Where a reader of a broadcast begins. */
enum class broadcast_from : int {
    now = SHMKIT_BROADCAST_FROM_NOW,
    oldest = SHMKIT_BROADCAST_FROM_OLDEST,
};

/** Whether an end is taken from a process that may live: only where it is known not to use it any more. */
enum class take_over : bool { no, yes };

/** What a queue is made as. */
struct queue_options {
    /** How many messages it holds. */
    std::uint64_t messages = 1024;
    /** Bytes of the longest message; for queue<std::byte> alone. */
    std::uint64_t message_size = 256;
    shmkit::overflow overflow = shmkit::overflow::block;
    shmkit::delivery delivery = shmkit::delivery::at_least_once;
};

namespace queue_detail {

using detail::done;
using detail::layout_of;
using detail::timeout_of;

template <class T> inline constexpr bool is_bytes = std::is_same_v<T, std::byte>;

/** What messages of a type are: objects of one size, or bytes of any. */
template <class T> struct message_of {
    static_assert(std::is_trivially_copyable_v<T> && !std::is_const_v<T>,
                  "a message must be trivially copyable, and not const: other processes have the bytes alone");
    static_assert(alignof(T) <= 16, "a message in a queue is aligned to 16 bytes");

    /** What is written. */
    using written = const T &;
    /** What stands where it is written, or read. */
    using reserved = T &;
    using seen = const T &;
    static constexpr std::size_t size = sizeof(T);

    static const shmkit_layout_t *layout() noexcept
    {
        static constexpr shmkit_layout_t mine = layout_of<T>();
        return &mine;
    }
    static const void *data_of(const T &message) noexcept { return std::addressof(message); }
    static std::size_t size_of(const T &) noexcept { return sizeof(T); }
    static T &reserved_at(void *data, std::size_t) noexcept { return *static_cast<T *>(data); }
    static const T &seen_at(const void *data, std::size_t) noexcept { return *static_cast<const T *>(data); }
};

template <> struct message_of<std::byte> {
    using written = span<const std::byte>;
    using reserved = span<std::byte>;
    using seen = span<const std::byte>;
    static constexpr std::size_t size = 0;

    static const shmkit_layout_t *layout() noexcept { return nullptr; }
    static const void *data_of(written message) noexcept { return message.data(); }
    static std::size_t size_of(written message) noexcept { return message.size(); }
    static reserved reserved_at(void *data, std::size_t length) noexcept
    {
        return reserved(static_cast<std::byte *>(data), length);
    }
    static seen seen_at(const void *data, std::size_t length) noexcept
    {
        return seen(static_cast<const std::byte *>(data), length);
    }
};

/** Room for a T that need not be constructed. */
template <class T> struct room_for {
    alignas(T) unsigned char bytes[sizeof(T)];
    const T &value() const noexcept { return *std::launder(reinterpret_cast<const T *>(bytes)); }
};

inline bool is_not_now(shmkit_status_t status) noexcept
{
    return status == SHMKIT_ERR_AGAIN || status == SHMKIT_ERR_TIMEOUT;
}

inline result<bool> now_or_not(shmkit_status_t status)
{
    if (status == SHMKIT_OK)
        return true;
    if (is_not_now(status))
        return false;
    return failure::last(status);
}

/** What a call fills in of the container in a place. */
template <class Stat, class Call> result<Stat> look(Call call, const void *data, std::size_t size)
{
    Stat found;
    const shmkit_status_t status = call(data, size, &found);
    if (status != SHMKIT_OK)
        return failure::last(status);
    return found;
}

/** Of a call that waits without end. */
template <class T> result<T> there(result<std::optional<T>> &&found)
{
    if (!found)
        return found.error();
    if (!*found)
        return failure(SHMKIT_ERR_AGAIN, EAGAIN, shmkit_status_message(SHMKIT_ERR_AGAIN));
    return std::move(**found);
}

template <class T> failure other_size(std::size_t found)
{
    return failure(SHMKIT_ERR_LAYOUT, EINVAL,
                   "shmkit: EINVAL: a message has " + std::to_string(found) + " bytes, and the type has " +
                       std::to_string(sizeof(T)) + "; a peer writes what is not of the type that it named");
}

/** A C handle on the heap, where it stays: it is detached, then its memory is given back. */
template <class C, shmkit_status_t (*detach)(C *)> struct detacher {
    void operator()(C *handle) const noexcept
    {
        static_cast<void>(detach(handle));
        delete handle;
    }
};
template <class C, shmkit_status_t (*detach)(C *)> using attached = std::unique_ptr<C, detacher<C, detach>>;

/** Attaches by `call`, which is given a handle. */
template <class Attached, class End, class Call> result<End> attach(Call &&call)
{
    using c_handle = typename Attached::element_type;
    auto fresh = std::make_unique<c_handle>();
    const shmkit_status_t status = call(fresh.get());
    if (status != SHMKIT_OK)
        return failure::last(status);
    return End(Attached(fresh.release()));
}

// The four in one form, for what they have in common.
struct ring_port {
    using handle = shmkit_ring_t;
    static constexpr std::size_t alignment = 8;
    static shmkit_status_t reserve(handle *end, std::size_t size, void **data, std::uint64_t timeout) noexcept
    {
        return shmkit_ring_reserve(end, size, data, timeout);
    }
    static shmkit_status_t commit(handle *end, std::size_t size) noexcept { return shmkit_ring_commit(end, size); }
    static shmkit_status_t abort(handle *end) noexcept { return shmkit_ring_abort(end); }
    static shmkit_status_t write(handle *end, const void *data, std::size_t size, std::uint64_t timeout) noexcept
    {
        return shmkit_ring_write(end, data, size, timeout);
    }
    static shmkit_status_t take(handle *end, const void **data, std::size_t *size, std::uint64_t timeout) noexcept
    {
        return shmkit_ring_peek(end, data, size, timeout);
    }
    static shmkit_status_t release(handle *end) noexcept { return shmkit_ring_release(end, 1); }
    static shmkit_status_t read(handle *end, void *to, std::size_t room, std::size_t *size,
                                std::uint64_t timeout) noexcept
    {
        return shmkit_ring_read(end, to, room, size, timeout);
    }
};

struct queue_port {
    using handle = shmkit_queue_t;
    static constexpr std::size_t alignment = 16;
    static shmkit_status_t reserve(handle *end, std::size_t size, void **data, std::uint64_t timeout) noexcept
    {
        return shmkit_queue_reserve(end, size, data, timeout);
    }
    static shmkit_status_t commit(handle *end, std::size_t size) noexcept { return shmkit_queue_commit(end, size); }
    static shmkit_status_t abort(handle *end) noexcept { return shmkit_queue_abort(end); }
    static shmkit_status_t write(handle *end, const void *data, std::size_t size, std::uint64_t timeout) noexcept
    {
        return shmkit_queue_send(end, data, size, timeout);
    }
    static shmkit_status_t take(handle *end, const void **data, std::size_t *size, std::uint64_t timeout) noexcept
    {
        return shmkit_queue_take(end, data, size, timeout);
    }
    static shmkit_status_t release(handle *end) noexcept { return shmkit_queue_release(end); }
    static shmkit_status_t read(handle *end, void *to, std::size_t room, std::size_t *size,
                                std::uint64_t timeout) noexcept
    {
        return shmkit_queue_receive(end, to, room, size, timeout);
    }
};

// These two never wait for readers.
struct broadcast_port {
    using handle = shmkit_broadcast_t;
    static constexpr std::size_t alignment = 16;
    static shmkit_status_t reserve(handle *end, std::size_t size, void **data, std::uint64_t) noexcept
    {
        return shmkit_broadcast_reserve(end, size, data);
    }
    static shmkit_status_t commit(handle *end, std::size_t size) noexcept { return shmkit_broadcast_commit(end, size); }
    static shmkit_status_t abort(handle *end) noexcept { return shmkit_broadcast_abort(end); }
    static shmkit_status_t write(handle *end, const void *data, std::size_t size, std::uint64_t) noexcept
    {
        return shmkit_broadcast_write(end, data, size);
    }
};

struct cell_port {
    using handle = shmkit_cell_t;
    static constexpr std::size_t alignment = 16;
    static shmkit_status_t reserve(handle *end, std::size_t size, void **data, std::uint64_t) noexcept
    {
        return shmkit_cell_reserve(end, size, data);
    }
    static shmkit_status_t commit(handle *end, std::size_t size) noexcept { return shmkit_cell_commit(end, size); }
    /** What is not committed is never seen, and the next value is written over it. */
    static shmkit_status_t abort(handle *) noexcept { return SHMKIT_OK; }
    static shmkit_status_t write(handle *end, const void *data, std::size_t size, std::uint64_t) noexcept
    {
        return shmkit_cell_write(end, data, size);
    }
};

} // namespace queue_detail

/**
 * Room for a message, where its readers will find it. What stands there is left from before: write all of it. commit()
 * publishes it; who does not commit gives it up.
 */
template <class T, class Port> class [[nodiscard]] reservation {
    using message = queue_detail::message_of<T>;

public:
    reservation(typename Port::handle *end, void *data, std::size_t size) noexcept : end_(end), data_(data), size_(size)
    {
    }
    reservation(reservation &&other) noexcept
        : end_(std::exchange(other.end_, nullptr)), data_(other.data_), size_(other.size_)
    {
    }
    reservation &operator=(reservation &&other) noexcept
    {
        reservation moved(std::move(other));
        std::swap(end_, moved.end_);
        std::swap(data_, moved.data_);
        std::swap(size_, moved.size_);
        return *this;
    }
    ~reservation()
    {
        if (end_ != nullptr)
            static_cast<void>(Port::abort(end_));
    }

    /** The message; of std::byte a span. */
    typename message::reserved operator*() const noexcept { return message::reserved_at(data_, size_); }
    template <class U = T, class = std::enable_if_t<!queue_detail::is_bytes<U>>> U *operator->() const noexcept
    {
        return static_cast<U *>(data_);
    }
    span<std::byte> bytes() const noexcept { return span<std::byte>(static_cast<std::byte *>(data_), size_); }

    /** Publishes all of it. */
    result<void> commit() { return commit_bytes(size_); }
    /** Publishes its first bytes. */
    template <class U = T, class = std::enable_if_t<queue_detail::is_bytes<U>>> result<void> commit(std::size_t size)
    {
        return commit_bytes(size);
    }
    /** Gives it up now. */
    result<void> abort()
    {
        auto *end = std::exchange(end_, nullptr);
        return end != nullptr ? queue_detail::done(Port::abort(end)) : result<void>();
    }

private:
    result<void> commit_bytes(std::size_t size)
    {
        const auto status = Port::commit(end_, size);
        if (status != SHMKIT_OK)
            return failure::last(status);
        end_ = nullptr;
        return {};
    }

    typename Port::handle *end_;
    void *data_;
    std::size_t size_;
};

/** A message where it lies, this consumer's until it is released: by its destructor at the latest. */
template <class T, class Port> class [[nodiscard]] taken {
    using message = queue_detail::message_of<T>;

public:
    taken(typename Port::handle *end, const void *data, std::size_t size) noexcept : end_(end), data_(data), size_(size)
    {
    }
    taken(taken &&other) noexcept : end_(std::exchange(other.end_, nullptr)), data_(other.data_), size_(other.size_) {}
    taken &operator=(taken &&other) noexcept
    {
        taken moved(std::move(other));
        std::swap(end_, moved.end_);
        std::swap(data_, moved.data_);
        std::swap(size_, moved.size_);
        return *this;
    }
    ~taken()
    {
        if (end_ != nullptr)
            static_cast<void>(Port::release(end_));
    }

    /** The message; of std::byte a span. */
    typename message::seen operator*() const noexcept { return message::seen_at(data_, size_); }
    template <class U = T, class = std::enable_if_t<!queue_detail::is_bytes<U>>> const U *operator->() const noexcept
    {
        return static_cast<const U *>(data_);
    }
    span<const std::byte> bytes() const noexcept
    {
        return span<const std::byte>(static_cast<const std::byte *>(data_), size_);
    }

    /** Gives it back now. */
    result<void> release()
    {
        auto *end = std::exchange(end_, nullptr);
        return end != nullptr ? queue_detail::done(Port::release(end)) : result<void>();
    }

private:
    typename Port::handle *end_;
    const void *data_;
    std::size_t size_;
};

/**
 * Messages in place, one after another: for a range-based for, and for views. Each is taken when it is looked at, or when the
 * end is asked for, and released when the iterator moves on: what was not looked at stays. It ends where nothing is left
 * (drain()) or nothing comes any more (messages()); any other failure throws, as value() does.
 */
template <class T, class Port> class [[nodiscard]] message_range {
public:
    class iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = std::conditional_t<queue_detail::is_bytes<T>, span<const std::byte>, T>;
        using difference_type = std::ptrdiff_t;
        using reference = typename queue_detail::message_of<T>::seen;
        using pointer = void;

        iterator() noexcept = default;
        explicit iterator(message_range *range) noexcept : range_(range) {}
        reference operator*() const
        {
            static_cast<void>(range_->has_one());
            return **range_->now_;
        }
        iterator &operator++()
        {
            range_->pass();
            return *this;
        }
        void operator++(int) { range_->pass(); }
        friend bool operator==(const iterator &one, const iterator &other) { return one.is_end() == other.is_end(); }
        friend bool operator!=(const iterator &one, const iterator &other) { return !(one == other); }

    private:
        bool is_end() const { return range_ == nullptr || !range_->has_one(); }
        message_range *range_ = nullptr;
    };

    message_range(typename Port::handle *end, std::uint64_t timeout) noexcept : end_(end), timeout_(timeout) {}
    iterator begin() noexcept
    {
        ended_ = false;
        return iterator(this);
    }
    iterator end() const noexcept { return iterator(); }

private:
    bool has_one();
    void pass();

    typename Port::handle *end_;
    std::uint64_t timeout_;
    std::optional<taken<T, Port>> now_;
    bool ended_ = false;
};

namespace queue_detail {

/** Takes the next message in place. Nothing: not now. */
template <class T, class Port>
result<std::optional<taken<T, Port>>> take_one(typename Port::handle *end, std::uint64_t timeout)
{
    const void *data = nullptr;
    std::size_t size = 0;
    const shmkit_status_t status = Port::take(end, &data, &size, timeout);
    if (is_not_now(status))
        return std::optional<taken<T, Port>>();
    if (status != SHMKIT_OK)
        return failure::last(status);
    if (!is_bytes<T> && size != sizeof(T)) {
        static_cast<void>(Port::release(end)); // nobody could read it, and nothing behind it would come
        return other_size<T>(size);
    }
    return std::optional<taken<T, Port>>(std::in_place, end, data, size);
}

/** The writing half of an end, whose class gives native_handle(). */
template <class End, class T, class Port> class writes {
    using message = message_of<T>;
    using written = typename message::written;
    static_assert(is_bytes<T> || alignof(T) <= Port::alignment, "messages are not aligned to so much: 8 bytes in a "
                                                                "ring, 16 in the others");

public:
    using reservation_type = reservation<T, Port>;

    /** Room for a message, in place. */
    template <class U = T, class = std::enable_if_t<!is_bytes<U>>> result<reservation_type> reserve()
    {
        return there(reserve_ns(sizeof(T), SHMKIT_TIMEOUT_FOREVER));
    }
    template <class U = T, class = std::enable_if_t<!is_bytes<U>>> result<std::optional<reservation_type>> try_reserve()
    {
        return reserve_ns(sizeof(T), 0);
    }
    template <class Rep, class Period, class U = T, class = std::enable_if_t<!is_bytes<U>>>
    result<std::optional<reservation_type>> reserve_for(const std::chrono::duration<Rep, Period> &time)
    {
        return reserve_ns(sizeof(T), timeout_of(time));
    }
    /** Room for a message of up to `size` bytes. */
    template <class U = T, class = std::enable_if_t<is_bytes<U>>> result<reservation_type> reserve(std::size_t size)
    {
        return there(reserve_ns(size, SHMKIT_TIMEOUT_FOREVER));
    }
    template <class U = T, class = std::enable_if_t<is_bytes<U>>>
    result<std::optional<reservation_type>> try_reserve(std::size_t size)
    {
        return reserve_ns(size, 0);
    }
    template <class Rep, class Period, class U = T, class = std::enable_if_t<is_bytes<U>>>
    result<std::optional<reservation_type>> reserve_for(std::size_t size,
                                                        const std::chrono::duration<Rep, Period> &time)
    {
        return reserve_ns(size, timeout_of(time));
    }

    /** Copies a message. */
    result<void> write(written one)
    {
        return done(Port::write(handle(), message::data_of(one), message::size_of(one), SHMKIT_TIMEOUT_FOREVER));
    }
    /** False: there is no room. */
    result<bool> try_write(written one)
    {
        return now_or_not(Port::write(handle(), message::data_of(one), message::size_of(one), 0));
    }
    /** False: there was no room in time. */
    template <class Rep, class Period>
    result<bool> write_for(written one, const std::chrono::duration<Rep, Period> &time)
    {
        return now_or_not(Port::write(handle(), message::data_of(one), message::size_of(one), timeout_of(time)));
    }

private:
    auto *handle() const noexcept { return static_cast<const End *>(this)->native_handle(); }

    result<std::optional<reservation_type>> reserve_ns(std::size_t size, std::uint64_t timeout)
    {
        void *data = nullptr;
        const shmkit_status_t status = Port::reserve(handle(), size, &data, timeout);
        if (is_not_now(status))
            return std::optional<reservation_type>();
        if (status != SHMKIT_OK)
            return failure::last(status);
        return std::optional<reservation_type>(std::in_place, handle(), data, size);
    }
};

/** The reading half. */
template <class End, class T, class Port> class takes {
public:
    using taken_type = taken<T, Port>;
    using range_type = message_range<T, Port>;

    /** The oldest message, in place. */
    result<taken_type> take() { return there(take_one<T, Port>(handle(), SHMKIT_TIMEOUT_FOREVER)); }
    result<std::optional<taken_type>> try_take() { return take_one<T, Port>(handle(), 0); }
    template <class Rep, class Period>
    result<std::optional<taken_type>> take_for(const std::chrono::duration<Rep, Period> &time)
    {
        return take_one<T, Port>(handle(), timeout_of(time));
    }

    /** A copy of the oldest message. */
    template <class U = T, class = std::enable_if_t<!is_bytes<U>>> result<U> read()
    {
        return there(read_ns<U>(SHMKIT_TIMEOUT_FOREVER));
    }
    template <class U = T, class = std::enable_if_t<!is_bytes<U>>> result<std::optional<U>> try_read()
    {
        return read_ns<U>(0);
    }
    template <class Rep, class Period, class U = T, class = std::enable_if_t<!is_bytes<U>>>
    result<std::optional<U>> read_for(const std::chrono::duration<Rep, Period> &time)
    {
        return read_ns<U>(timeout_of(time));
    }
    /** The same into `room`, of which the message is the beginning. SHMKIT_ERR_TOO_BIG: it is longer, and stays. */
    template <class U = T, class = std::enable_if_t<is_bytes<U>>> result<span<std::byte>> read(span<std::byte> room)
    {
        return there(read_into(room, SHMKIT_TIMEOUT_FOREVER));
    }
    template <class U = T, class = std::enable_if_t<is_bytes<U>>>
    result<std::optional<span<std::byte>>> try_read(span<std::byte> room)
    {
        return read_into(room, 0);
    }
    template <class Rep, class Period, class U = T, class = std::enable_if_t<is_bytes<U>>>
    result<std::optional<span<std::byte>>> read_for(span<std::byte> room,
                                                    const std::chrono::duration<Rep, Period> &time)
    {
        return read_into(room, timeout_of(time));
    }

    /** The messages that are there: for (const T &one : end.drain()). */
    range_type drain() noexcept { return range_type(handle(), 0); }
    /** The messages that are there and that come, until nothing comes any more. */
    range_type messages() noexcept { return range_type(handle(), SHMKIT_TIMEOUT_FOREVER); }

private:
    auto *handle() const noexcept { return static_cast<const End *>(this)->native_handle(); }

    template <class U> result<std::optional<U>> read_ns(std::uint64_t timeout)
    {
        auto found = take_one<T, Port>(handle(), timeout);
        if (!found)
            return found.error();
        if (!*found)
            return std::optional<U>();
        std::optional<U> copy(***found);
        if (auto released = (*found)->release(); !released)
            return released.error();
        return copy;
    }

    result<std::optional<span<std::byte>>> read_into(span<std::byte> room, std::uint64_t timeout)
    {
        std::size_t size = 0;
        const shmkit_status_t status = Port::read(handle(), room.data(), room.size(), &size, timeout);
        if (is_not_now(status))
            return std::optional<span<std::byte>>();
        if (status != SHMKIT_OK)
            return failure::last(status);
        return std::optional<span<std::byte>>(room.first(size));
    }
};

} // namespace queue_detail

/** Whether there is a message, which is taken if none is yet. */
template <class T, class Port> bool message_range<T, Port>::has_one()
{
    if (now_ || ended_)
        return now_.has_value();
    auto found = queue_detail::take_one<T, Port>(end_, timeout_);
    ended_ = !found && found.status() == SHMKIT_ERR_CLOSED;
    if (ended_)
        return false;
    auto &one = found.value();
    if (one)
        now_.emplace(std::move(*one));
    ended_ = !now_.has_value();
    return now_.has_value();
}

/** Releases the message: a member of a queue has one at a time. */
template <class T, class Port> void message_range<T, Port>::pass()
{
    if (!has_one())
        return;
    auto released = now_->release();
    now_.reset();
    released.value();
}

template <class T> class ring;

/** The writing end of a ring: made by ring<T>::produce(). */
template <class T> class ring_producer : public queue_detail::writes<ring_producer<T>, T, queue_detail::ring_port> {
public:
    /** No end. */
    ring_producer() noexcept = default;
    explicit operator bool() const noexcept { return handle_ != nullptr; }

    /** Copies as many messages as there is room for, at least one, and publishes them together; gives how many. */
    template <class U = T, class = std::enable_if_t<!queue_detail::is_bytes<U>>>
    result<std::size_t> write_batch(span<const U> messages)
    {
        std::array<shmkit_span_t, 64> parts;
        std::size_t done = 0;
        while (done < messages.size()) {
            std::size_t count = 0, written = 0;
            for (; count < parts.size() && done + count < messages.size(); ++count)
                parts[count] = {const_cast<U *>(&messages[done + count]), sizeof(U)};
            const std::uint64_t timeout = done == 0 ? SHMKIT_TIMEOUT_FOREVER : 0;
            const auto status =
                shmkit_ring_write_batch(handle_.get(), parts.data(), count, &written, timeout);
            if (status == SHMKIT_ERR_AGAIN)
                break;
            if (status != SHMKIT_OK)
                return failure::last(status);
            done += written;
            if (written < count)
                break;
        }
        return done;
    }

    /** Nothing comes any more. See shmkit_ring_close(). */
    result<void> close() { return queue_detail::done(shmkit_ring_close(handle_.get())); }
    /** Before a sleep on a descriptor. False: there is something to do first. See shmkit_ring_arm(). */
    result<bool> arm() { return queue_detail::now_or_not(shmkit_ring_arm(handle_.get())); }
    /** See shmkit_ring_set_notify_fd(). */
    result<void> notify_by(int fd) { return queue_detail::done(shmkit_ring_set_notify_fd(handle_.get(), fd)); }
    shmkit_ring_t *native_handle() const noexcept { return handle_.get(); }

private:
    using owned = queue_detail::attached<shmkit_ring_t, &shmkit_ring_detach>;
    friend class ring<T>;
    template <class, class End, class Call> friend result<End> queue_detail::attach(Call &&);
    explicit ring_producer(owned &&handle) noexcept : handle_(std::move(handle)) {}
    owned handle_;
};

/** The reading end of a ring: made by ring<T>::consume(). */
template <class T> class ring_consumer : public queue_detail::takes<ring_consumer<T>, T, queue_detail::ring_port> {
public:
    /** No end. */
    ring_consumer() noexcept = default;
    explicit operator bool() const noexcept { return handle_ != nullptr; }

    /** Before a sleep on a descriptor. False: there is something to do first. See shmkit_ring_arm(). */
    result<bool> arm() { return queue_detail::now_or_not(shmkit_ring_arm(handle_.get())); }
    /** See shmkit_ring_set_notify_fd(). */
    result<void> notify_by(int fd) { return queue_detail::done(shmkit_ring_set_notify_fd(handle_.get(), fd)); }
    shmkit_ring_t *native_handle() const noexcept { return handle_.get(); }

private:
    using owned = queue_detail::attached<shmkit_ring_t, &shmkit_ring_detach>;
    friend class ring<T>;
    template <class, class End, class Call> friend result<End> queue_detail::attach(Call &&);
    explicit ring_consumer(owned &&handle) noexcept : handle_(std::move(handle)) {}
    owned handle_;
};

/** A ring of T, or of bytes, as it lies in memory: how it is made, and how its ends are taken. */
template <class T> class ring {
    using message = queue_detail::message_of<T>;

public:
    using producer = ring_producer<T>;
    using consumer = ring_consumer<T>;
    ring() = delete;

    /** Bytes of memory for so many messages; of std::byte, for messages of so many bytes in all. */
    static std::size_t size(std::size_t count) noexcept
    {
        constexpr std::size_t each = queue_detail::is_bytes<T> ? 1 : (sizeof(T) + 15) / 8 * 8;
        // The longest message has half of it.
        const std::size_t least = queue_detail::is_bytes<T> ? 1 : 2;
        if (count > SIZE_MAX / 2 / each)
            return 0;
        return shmkit_ring_size((count < least ? least : count) * each);
    }

    /** Makes one of memory that nobody uses yet. See shmkit_ring_init(). */
    static result<void> make(const place &where)
    {
        return queue_detail::done(shmkit_ring_init(where.data(), where.size(), message::layout()));
    }
    /** The same for region::create() and region::open_or_create(). */
    static auto maker()
    {
        return [](void *data, std::size_t size) { make(place(data, size)).value(); };
    }

    /** Takes the writing end. See shmkit_ring_attach(). */
    static result<producer> produce(const place &where, take_over how = take_over::no)
    {
        return attach<producer>(where, SHMKIT_RING_PRODUCE, how);
    }
    /** Takes the reading end. */
    static result<consumer> consume(const place &where, take_over how = take_over::no)
    {
        return attach<consumer>(where, SHMKIT_RING_CONSUME, how);
    }

    /** See shmkit_ring_stat(). */
    static result<shmkit_ring_stat_t> stat(const place &where)
    {
        return queue_detail::look<shmkit_ring_stat_t>(shmkit_ring_stat, where.data(), where.size());
    }

private:
    template <class End> static result<End> attach(const place &where, int side, take_over how)
    {
        side |= how == take_over::yes ? SHMKIT_RING_TAKE_OVER : 0;
        return queue_detail::attach<typename End::owned, End>([&](shmkit_ring_t *fresh) {
            return shmkit_ring_attach(fresh, where.data(), where.size(), message::layout(), side);
        });
    }
};

/** A member of a queue of T, or of bytes: it writes and takes. */
template <class T>
class queue : public queue_detail::writes<queue<T>, T, queue_detail::queue_port>,
              public queue_detail::takes<queue<T>, T, queue_detail::queue_port> {
    using message = queue_detail::message_of<T>;

public:
    /** No member. */
    queue() noexcept = default;
    explicit operator bool() const noexcept { return handle_ != nullptr; }

    /** Bytes of memory; 0 for options that are not valid. See shmkit_queue_size(). */
    static std::size_t size(const queue_options &wanted)
    {
        const auto c = to_c(wanted);
        return shmkit_queue_size(&c);
    }

    /** Makes one of memory that nobody uses yet. See shmkit_queue_init(). */
    static result<void> make(const place &where, const queue_options &wanted)
    {
        const auto c = to_c(wanted);
        return queue_detail::done(shmkit_queue_init(where.data(), where.size(), &c));
    }
    /** The same for region::create() and region::open_or_create(). */
    static auto maker(const queue_options &wanted)
    {
        return [wanted](void *data, std::size_t size) { make(place(data, size), wanted).value(); };
    }

    /** Becomes a member. The region must outlive it. See shmkit_queue_attach(). */
    static result<queue> attach(const place &where)
    {
        return queue_detail::attach<owned, queue>([&](shmkit_queue_t *fresh) {
            return shmkit_queue_attach(fresh, where.region_handle(), where.data(), where.size(), message::layout());
        });
    }

    /** See shmkit_queue_close(). */
    result<void> close() { return queue_detail::done(shmkit_queue_close(handle_.get())); }
    /** Before a sleep on a descriptor. False: there is something to do first. See shmkit_queue_arm(). */
    result<bool> arm() { return queue_detail::now_or_not(shmkit_queue_arm(handle_.get())); }
    /** See shmkit_queue_set_notify_fd(). */
    result<void> notify_by(int fd) { return queue_detail::done(shmkit_queue_set_notify_fd(handle_.get(), fd)); }
    shmkit_queue_t *native_handle() const noexcept { return handle_.get(); }

    /** See shmkit_queue_stat(). */
    static result<shmkit_queue_stat_t> stat(const place &where)
    {
        return queue_detail::look<shmkit_queue_stat_t>(shmkit_queue_stat, where.data(), where.size());
    }

private:
    using owned = queue_detail::attached<shmkit_queue_t, &shmkit_queue_detach>;
    template <class, class End, class Call> friend result<End> queue_detail::attach(Call &&);
    explicit queue(owned &&handle) noexcept : handle_(std::move(handle)) {}

    static shmkit_queue_options_t to_c(const queue_options &wanted) noexcept
    {
        shmkit_queue_options_t c = SHMKIT_QUEUE_OPTIONS_INIT;
        c.messages = wanted.messages;
        c.message_size = queue_detail::is_bytes<T> ? wanted.message_size : sizeof(T);
        if (message::layout() != nullptr)
            c.layout = *message::layout();
        c.overflow = static_cast<int>(wanted.overflow);
        c.delivery = static_cast<int>(wanted.delivery);
        return c;
    }

    owned handle_;
};

/** A message of a broadcast, and how many were missed before it. Of std::byte: the part of the reader's room it has. */
template <class T> struct received {
    std::conditional_t<queue_detail::is_bytes<T>, span<std::byte>, T> message;
    std::uint64_t missed;
};

/** A member of a broadcast of T, or of bytes: it writes and reads. */
template <class T> class broadcast : public queue_detail::writes<broadcast<T>, T, queue_detail::broadcast_port> {
    using message = queue_detail::message_of<T>;

public:
    /** No member. */
    broadcast() noexcept = default;
    explicit operator bool() const noexcept { return handle_ != nullptr; }

    /** Bytes of memory, where the last `messages` are kept; `message_size` is for std::byte alone. */
    static std::size_t size(std::size_t messages, std::size_t message_size = message::size) noexcept
    {
        return shmkit_broadcast_size(messages, queue_detail::is_bytes<T> ? message_size : sizeof(T));
    }

    /** Makes one of memory that nobody uses yet. See shmkit_broadcast_init(). */
    static result<void> make(const place &where, std::size_t messages, std::size_t message_size = message::size)
    {
        const std::size_t longest = queue_detail::is_bytes<T> ? message_size : sizeof(T);
        return queue_detail::done(
            shmkit_broadcast_init(where.data(), where.size(), messages, longest, message::layout()));
    }
    /** The same for region::create() and region::open_or_create(). */
    static auto maker(std::size_t messages, std::size_t message_size = message::size)
    {
        return [=](void *data, std::size_t size) { make(place(data, size), messages, message_size).value(); };
    }

    /** Becomes a member. The region must outlive it. See shmkit_broadcast_attach(). */
    static result<broadcast> attach(const place &where, broadcast_from from = broadcast_from::now)
    {
        return queue_detail::attach<owned, broadcast>([&](shmkit_broadcast_t *fresh) {
            return shmkit_broadcast_attach(fresh, where.region_handle(), where.data(), where.size(), message::layout(),
                                           static_cast<int>(from));
        });
    }

    /** A copy of the next message. */
    template <class U = T, class = std::enable_if_t<!queue_detail::is_bytes<U>>> result<received<U>> read()
    {
        return queue_detail::there(read_ns<U>(SHMKIT_TIMEOUT_FOREVER));
    }
    template <class U = T, class = std::enable_if_t<!queue_detail::is_bytes<U>>>
    result<std::optional<received<U>>> try_read()
    {
        return read_ns<U>(0);
    }
    template <class Rep, class Period, class U = T, class = std::enable_if_t<!queue_detail::is_bytes<U>>>
    result<std::optional<received<U>>> read_for(const std::chrono::duration<Rep, Period> &time)
    {
        return read_ns<U>(queue_detail::timeout_of(time));
    }
    /** The same into `room`. SHMKIT_ERR_TOO_BIG: it is longer, and stays. */
    template <class U = T, class = std::enable_if_t<queue_detail::is_bytes<U>>>
    result<received<U>> read(span<std::byte> room)
    {
        return queue_detail::there(read_into<U>(room, SHMKIT_TIMEOUT_FOREVER));
    }
    template <class U = T, class = std::enable_if_t<queue_detail::is_bytes<U>>>
    result<std::optional<received<U>>> try_read(span<std::byte> room)
    {
        return read_into<U>(room, 0);
    }
    template <class Rep, class Period, class U = T, class = std::enable_if_t<queue_detail::is_bytes<U>>>
    result<std::optional<received<U>>> read_for(span<std::byte> room, const std::chrono::duration<Rep, Period> &time)
    {
        return read_into<U>(room, queue_detail::timeout_of(time));
    }

    /** See shmkit_broadcast_behind(). */
    std::uint64_t behind() const noexcept { return shmkit_broadcast_behind(handle_.get()); }
    /** See shmkit_broadcast_close(). */
    result<void> close() { return queue_detail::done(shmkit_broadcast_close(handle_.get())); }
    /** Before a sleep on a descriptor. False: there is something to do first. See shmkit_broadcast_arm(). */
    result<bool> arm() { return queue_detail::now_or_not(shmkit_broadcast_arm(handle_.get())); }
    /** See shmkit_broadcast_set_notify_fd(). */
    result<void> notify_by(int fd) { return queue_detail::done(shmkit_broadcast_set_notify_fd(handle_.get(), fd)); }
    shmkit_broadcast_t *native_handle() const noexcept { return handle_.get(); }

    /** See shmkit_broadcast_stat(). */
    static result<shmkit_broadcast_stat_t> stat(const place &where)
    {
        return queue_detail::look<shmkit_broadcast_stat_t>(shmkit_broadcast_stat, where.data(), where.size());
    }

private:
    using owned = queue_detail::attached<shmkit_broadcast_t, &shmkit_broadcast_detach>;
    template <class, class End, class Call> friend result<End> queue_detail::attach(Call &&);
    explicit broadcast(owned &&handle) noexcept : handle_(std::move(handle)) {}

    template <class U> result<std::optional<received<U>>> read_ns(std::uint64_t timeout)
    {
        queue_detail::room_for<U> room;
        std::size_t size = 0;
        std::uint64_t missed = 0;
        const auto status = shmkit_broadcast_read(handle_.get(), &room, sizeof room, &size, &missed, timeout);
        if (queue_detail::is_not_now(status))
            return std::optional<received<U>>();
        if (status != SHMKIT_OK)
            return failure::last(status);
        if (size != sizeof(U))
            return queue_detail::other_size<U>(size);
        return std::optional<received<U>>(received<U>{room.value(), missed});
    }

    template <class U> result<std::optional<received<U>>> read_into(span<std::byte> room, std::uint64_t timeout)
    {
        std::size_t size = 0;
        std::uint64_t missed = 0;
        const auto status =
            shmkit_broadcast_read(handle_.get(), room.data(), room.size(), &size, &missed, timeout);
        if (queue_detail::is_not_now(status))
            return std::optional<received<U>>();
        if (status != SHMKIT_OK)
            return failure::last(status);
        return std::optional<received<U>>(received<U>{room.first(size), missed});
    }

    owned handle_;
};

template <class T> class cell;

/** Who writes a cell: made by cell<T>::writer_of(). Its writes never wait. */
template <class T> class cell_writer : public queue_detail::writes<cell_writer<T>, T, queue_detail::cell_port> {
public:
    /** No writer. */
    cell_writer() noexcept = default;
    explicit operator bool() const noexcept { return handle_ != nullptr; }
    shmkit_cell_t *native_handle() const noexcept { return handle_.get(); }

private:
    using owned = queue_detail::attached<shmkit_cell_t, &shmkit_cell_detach>;
    friend class cell<T>;
    template <class, class End, class Call> friend result<End> queue_detail::attach(Call &&);
    explicit cell_writer(owned &&handle) noexcept : handle_(std::move(handle)) {}
    owned handle_;
};

/** Who reads a cell: made by cell<T>::reader_of(). Never held up by the writer. */
template <class T> class cell_reader {
public:
    /** No reader. */
    cell_reader() noexcept = default;
    explicit operator bool() const noexcept { return handle_ != nullptr; }

    /** The latest value; nothing when none was written yet. */
    template <class U = T, class = std::enable_if_t<!queue_detail::is_bytes<U>>> result<std::optional<U>> latest()
    {
        return read_one<U>(0, 0);
    }
    /** A value that this reader has not seen: waits for it. Those between are passed over. */
    template <class U = T, class = std::enable_if_t<!queue_detail::is_bytes<U>>> result<U> next()
    {
        return queue_detail::there(read_one<U>(version_, SHMKIT_TIMEOUT_FOREVER));
    }
    template <class U = T, class = std::enable_if_t<!queue_detail::is_bytes<U>>> result<std::optional<U>> try_next()
    {
        return read_one<U>(version_, 0);
    }
    template <class Rep, class Period, class U = T, class = std::enable_if_t<!queue_detail::is_bytes<U>>>
    result<std::optional<U>> next_for(const std::chrono::duration<Rep, Period> &time)
    {
        return read_one<U>(version_, queue_detail::timeout_of(time));
    }
    /** The same into `room`, of which the value is the beginning. SHMKIT_ERR_TOO_BIG: it is longer. */
    template <class U = T, class = std::enable_if_t<queue_detail::is_bytes<U>>>
    result<std::optional<span<std::byte>>> latest(span<std::byte> room)
    {
        return read_into(0, room, 0);
    }
    template <class U = T, class = std::enable_if_t<queue_detail::is_bytes<U>>>
    result<span<std::byte>> next(span<std::byte> room)
    {
        return queue_detail::there(read_into(version_, room, SHMKIT_TIMEOUT_FOREVER));
    }
    template <class U = T, class = std::enable_if_t<queue_detail::is_bytes<U>>>
    result<std::optional<span<std::byte>>> try_next(span<std::byte> room)
    {
        return read_into(version_, room, 0);
    }
    template <class Rep, class Period, class U = T, class = std::enable_if_t<queue_detail::is_bytes<U>>>
    result<std::optional<span<std::byte>>> next_for(span<std::byte> room,
                                                    const std::chrono::duration<Rep, Period> &time)
    {
        return read_into(version_, room, queue_detail::timeout_of(time));
    }

    /** The number of the value that was read last, from 1 on. */
    std::uint64_t version() const noexcept { return version_; }
    shmkit_cell_t *native_handle() const noexcept { return handle_.get(); }

private:
    using owned = queue_detail::attached<shmkit_cell_t, &shmkit_cell_detach>;
    friend class cell<T>;
    template <class, class End, class Call> friend result<End> queue_detail::attach(Call &&);
    explicit cell_reader(owned &&handle) noexcept : handle_(std::move(handle)) {}

    template <class U> result<std::optional<U>> read_one(std::uint64_t after, std::uint64_t timeout)
    {
        queue_detail::room_for<U> room;
        std::size_t size = 0;
        const auto status =
            shmkit_cell_read_newer(handle_.get(), after, &room, sizeof room, &size, &version_, timeout);
        if (queue_detail::is_not_now(status))
            return std::optional<U>();
        if (status != SHMKIT_OK)
            return failure::last(status);
        if (size != sizeof(U))
            return queue_detail::other_size<U>(size);
        return std::optional<U>(room.value());
    }

    result<std::optional<span<std::byte>>> read_into(std::uint64_t after, span<std::byte> room, std::uint64_t timeout)
    {
        std::size_t size = 0;
        const auto status =
            shmkit_cell_read_newer(handle_.get(), after, room.data(), room.size(), &size, &version_, timeout);
        if (queue_detail::is_not_now(status))
            return std::optional<span<std::byte>>();
        if (status != SHMKIT_OK)
            return failure::last(status);
        return std::optional<span<std::byte>>(room.first(size));
    }

    owned handle_;
    std::uint64_t version_ = 0;
};

/** A cell of T, or of bytes, as it lies in memory: how it is made, and how it is used. */
template <class T> class cell {
    using message = queue_detail::message_of<T>;

public:
    using writer = cell_writer<T>;
    using reader = cell_reader<T>;
    cell() = delete;

    /** Bytes of memory; `value_size` is for std::byte alone. */
    static std::size_t size(std::size_t value_size = message::size) noexcept
    {
        return shmkit_cell_size(queue_detail::is_bytes<T> ? value_size : sizeof(T));
    }

    /** Makes one of memory that nobody uses yet. See shmkit_cell_init(). */
    static result<void> make(const place &where, std::size_t value_size = message::size)
    {
        const std::size_t longest = queue_detail::is_bytes<T> ? value_size : sizeof(T);
        return queue_detail::done(shmkit_cell_init(where.data(), where.size(), longest, message::layout()));
    }
    /** The same for region::create() and region::open_or_create(). */
    static auto maker(std::size_t value_size = message::size)
    {
        return [=](void *data, std::size_t size) { make(place(data, size), value_size).value(); };
    }

    /** Takes the writer's place. See shmkit_cell_attach(). */
    static result<writer> writer_of(const place &where, take_over how = take_over::no)
    {
        return attach<writer>(where, SHMKIT_CELL_WRITE | (how == take_over::yes ? SHMKIT_CELL_TAKE_OVER : 0));
    }
    /** Reads, also where it is mapped for reading only. */
    static result<reader> reader_of(const place &where) { return attach<reader>(where, SHMKIT_CELL_READ); }

    /** See shmkit_cell_stat(). */
    static result<shmkit_cell_stat_t> stat(const place &where)
    {
        return queue_detail::look<shmkit_cell_stat_t>(shmkit_cell_stat, where.data(), where.size());
    }

private:
    template <class User> static result<User> attach(const place &where, int how)
    {
        return queue_detail::attach<typename User::owned, User>([&](shmkit_cell_t *fresh) {
            return shmkit_cell_attach(fresh, where.data(), where.size(), message::layout(), how);
        });
    }
};

} // inline namespace

} // namespace shmkit

#undef SHMKIT_DETAIL_SPAN
#undef SHMKIT_DETAIL_EXCEPTIONS

#endif /* SHMKIT_HPP */
