# Makes a Rust static library fit to stand beside any other: one object, in which only PREFIX* symbols are global.
# Run it with cmake -P and -DINPUT= -DOUTPUT= -DPREFIX= -DLINKER= -DOBJCOPY= -DAR= -DNM=. Never changes INPUT.
#
# The exported functions are linked, with all that they need, into one relocatable object:
#   --gc-sections             leaves out what they do not need; constructors and destructors stay, for the linker keeps
#                             .init_array and .fini_array sections whole
#   --force-group-allocation  dissolves COMDAT groups: a later link would take the group of one Rust library for the
#                             same group of another, and drop what is no longer the same once symbols are local
# Then every other symbol is made local, and debug information and embedded bitcode are left out. Local symbols that
# relocations need stay, and so do thread-local storage and unwind tables.
cmake_minimum_required(VERSION 3.20)

foreach(name IN ITEMS INPUT OUTPUT PREFIX OBJCOPY AR NM)
  if(NOT ${name})
    message(FATAL_ERROR "localize.cmake: ${name} is not set")
  endif()
endforeach()

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE failed ERROR_VARIABLE words OUTPUT_VARIABLE words)
  if(failed)
    list(GET ARGN 0 tool)
    message(FATAL_ERROR "localize.cmake: ${tool}: ${failed}\n${words}")
  endif()
endfunction()

# The names of the global symbols that `file` defines. The result of nm says nothing: one of LLVM that is older than
# the Rust compiler complains of members whose bitcode it cannot read, and lists the rest.
function(global_symbols file result)
  execute_process(COMMAND "${NM}" -g --defined-only "${file}" OUTPUT_VARIABLE table ERROR_QUIET)
  string(REGEX MATCHALL "[0-9a-f]+ [A-Za-z] [^\n]+" lines "${table}")
  list(TRANSFORM lines REPLACE "^[0-9a-f]+ [A-Za-z] " "")
  set(${result} "${lines}" PARENT_SCOPE)
endfunction()

# GNU ld: the only linker that has long been able to do both things above in a relocatable link.
function(find_gnu_linker result)
  find_program(gnu_linker NAMES ld.bfd ld)
  foreach(linker IN ITEMS "${LINKER}" "${gnu_linker}")
    execute_process(COMMAND "${linker}" --version OUTPUT_VARIABLE words ERROR_QUIET)
    if(words MATCHES "^GNU ld")
      set(${result} "${linker}" PARENT_SCOPE)
      return()
    endif()
  endforeach()
  message(FATAL_ERROR "localize.cmake: the static library needs GNU ld (binutils); install it or set SHMKIT_STATIC=OFF")
endfunction()

find_gnu_linker(linker)
global_symbols("${INPUT}" exported)
list(FILTER exported INCLUDE REGEX "^${PREFIX}")
if(NOT exported)
  message(FATAL_ERROR "localize.cmake: ${NM} finds no symbol in ${INPUT} that begins with ${PREFIX}")
endif()
list(SORT exported)
set(roots ${exported})
list(TRANSFORM roots PREPEND --undefined=)
list(JOIN exported "\n" keep)
file(WRITE "${OUTPUT}.keep" "${keep}\n")

run("${linker}" -r --gc-sections --force-group-allocation ${roots} -o "${OUTPUT}.o" "${INPUT}")
run("${OBJCOPY}" "--keep-global-symbols=${OUTPUT}.keep" --strip-debug --strip-unneeded
  --remove-section=.llvmbc --remove-section=.llvmcmd "${OUTPUT}.o")
global_symbols("${OUTPUT}.o" left)
list(SORT left)
if(NOT left STREQUAL exported)
  message(FATAL_ERROR "localize.cmake: other symbols than those of ${OUTPUT}.keep are global: ${left}")
endif()
file(REMOVE "${OUTPUT}")
run("${AR}" rcs "${OUTPUT}" "${OUTPUT}.o")
file(REMOVE "${OUTPUT}.o" "${OUTPUT}.keep")
